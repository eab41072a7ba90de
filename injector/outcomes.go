package injector

import (
	"iter"
	"net/netip"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/injector/internal/outcomes"
)

// watched is a worker as the outcomes.Watcher of its connections sees it.
type watched struct{ w *worker }

func (e watched) Conn(client, server netip.AddrPort) *outcomes.Conn {
	if f := e.w.flows.flows[flowKey{client, server}]; f != nil {
		return f.outcome
	}
	return nil
}

func (e watched) Faults(f outcomes.Flow) int { return len(f.(*entry).links) }

func (e watched) Tally(f outcomes.Flow, fault int) *outcomes.Tally {
	return &f.(*entry).links[fault].outcomes
}

func (e watched) Armed(of outcomes.Flow) bool {
	f := of.(*entry)
	return f.armed() || e.w.rules[f.rule].settings.Load().diverts.Idle != 0
}

func (e watched) Alarmed(of outcomes.Flow) bool { return of.(*entry).armed() }

func (e watched) Waits(of outcomes.Flow, fault int) outcomes.Wait {
	f := of.(*entry)
	rule, first := f.links[fault].rule, 0
	for f.links[first].rule != rule {
		first++
	}
	return e.w.rules[rule].settings.Load().waits[fault-first]
}

func (e watched) Settled(of outcomes.Flow, fault int, o outcome.Outcome) {
	f := of.(*entry)
	c := f.links[fault]
	if !o.Struck && f.fired&(1<<fault) != 0 { // that nothing was there came out later
		c.fired.Add(^uint64(0))
	}
	nth, known := f.ordinalOf(c.rule)
	if !known { // it was parked, and a parked flow keeps only the ordinal within its own rule
		nth.nth = f.nth
	}
	e.w.tell(record{kind: Outcome, client: f.Client, server: f.Server, rule: c.rule, nth: nth.nth, fault: c, outcome: o})
}

func (e watched) Rest(of outcomes.Flow, now time.Duration) {
	f := of.(*entry)
	if f.outcome.Finished() {
		f.outcome = nil
	}
	if !f.deleted {
		e.w.mayPark(f, now)
	}
}

func (e watched) Beside(ask, then func()) {
	e.w.changing++
	go func() {
		ask()
		e.w.post(func() {
			e.w.changing--
			then()
		})
	}()
}

// leaves reports whether something of what the faults decided has yet to leave this host.
func (w *worker) leaves() bool { return w.out.Hold > 0 || len(w.out.Forged) > 0 || w.out.Split() }

// decision is what the faults decided about the flow, as the Watcher takes it. who is the
// ordinal of the fault that decided.
func (w *worker) decision(f *entry, v faults.Verdict, who int) outcomes.Decision {
	if who >= len(f.links) {
		who = -1
	}
	return outcomes.Decision{Verdict: v, Fault: who, Observes: who >= 0 && f.links[who].observes, Effects: &w.out}
}

// finish ends what is known of the strikes on a flow.
func (w *worker) finish(f *entry, now time.Duration) {
	w.watcher.Finish(f.outcome, now)
	f.outcome = nil
}

// endOutcomes settles all outcomes that are open when the run ends.
func (w *worker) endOutcomes() {
	until := time.Now().Add(2 * time.Second)
	w.watcher.End(w.conns(), func() {
		for w.report != nil && w.report.full() && time.Now().Before(until) {
			time.Sleep(time.Millisecond) // no packet waits for the worker any more
		}
	})
}

// conns are the connections that are watched.
func (w *worker) conns() iter.Seq[*outcomes.Conn] {
	return func(yield func(*outcomes.Conn) bool) {
		for _, f := range w.flows.flows {
			if f.outcome != nil && !yield(f.outcome) {
				return
			}
		}
	}
}

// PrepareOutcomes reads what the kernel says of its tracepoints, once for the
// process: runs that start later can then listen to them without tracefs and the right
// to mount it (CAP_SYS_ADMIN). What they need then is CAP_PERFMON. The error says why
// the tracepoints cannot be read; runs learn less of what strikes came to then.
func PrepareOutcomes() error { return outcomes.Prepare() }
