package scenario

import (
	"strings"
	"sync"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/evidence"
	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/injector"
)

// keeper keeps the evidence of a scenario: a case for each entry and each probe.
// The runs of its entries come and go, several at a time; their counters are
// served as if each entry were one rule of one run.
type keeper struct {
	ev   *evidence.Evidence // nil: none is wanted
	play *player

	history *history // nil as ev is

	mu     sync.Mutex
	meters []meter // one for each entry
}

// meter counts what the runs of an entry did: those that are over, and the one
// that goes on.
type meter struct {
	rec *evidence.Record
	sum injector.Snapshot
	now func() injector.Snapshot // nil between runs
}

func newKeeper(ev *evidence.Evidence, pl *player) *keeper {
	k := &keeper{ev: ev, play: pl, meters: make([]meter, len(pl.entries))}
	for i := range k.meters {
		k.meters[i].rec = &evidence.Record{}
	}
	return k
}

// theScenario is the case of a scenario as a whole, where faultctl failed.
const theScenario = "the scenario"

// begin says that the scenario is on its way.
func (k *keeper) begin() {
	if k.ev == nil {
		return
	}
	k.ev.Named(k.play.Repeat(), k.play.Seed)
	k.ev.Watch(k.snapshot)
	k.history = newHistory(k.play)
	k.ev.Timeline(k.history.timeline)
	k.ev.UnderWay(func() (cases []report.Case) {
		k.mu.Lock()
		defer k.mu.Unlock()
		for i := range k.meters {
			m := &k.meters[i]
			c := k.play.entries[i].asCase(m.total())
			c.Verdict, c.Reason = report.Skipped, "It was cut short."
			m.rec.Fill(&c)
			cases = append(cases, c)
		}
		return append(cases, report.Case{Name: theScenario, Verdict: report.Broken, Reason: evidence.ErrCutShort.Error(), Start: k.play.began, CutShort: true})
	})
}

// attend has the next run of an entry taken down and counted. As in the events,
// the rule of a packet is its entry's place in the file.
func (k *keeper) attend(entry int, p *experiment.Plan) {
	if k.ev != nil {
		o := k.ev.Observer(k.meters[entry].rec)
		o.Stats = nil // all entries are counted together
		if show := o.Packet; show != nil {
			o.Packet = func(p injector.Packet) {
				p.Rule = entry
				show(p)
			}
		}
		p.Observe(o)
	}
	p.Observe(experiment.Observer{Stats: func(now func() injector.Snapshot) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.meters[entry].now = now
	}})
}

// over says that the run of an entry has ended with these counters; nil if it
// never became active.
func (k *keeper) over(entry int, stats *injector.Snapshot) {
	k.mu.Lock()
	m := &k.meters[entry]
	m.now = nil
	if stats != nil {
		m.sum = m.sum.Plus(*stats)
	}
	k.mu.Unlock()
	if stats != nil {
		k.ev.Ended(*stats)
	}
}

// total is what the runs of an entry have done so far.
func (m *meter) total() injector.Snapshot {
	if m.now == nil {
		return m.sum
	}
	return m.sum.Plus(m.now())
}

// snapshot is the counters of all entries, one rule each.
func (k *keeper) snapshot() (all injector.Snapshot) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range k.meters {
		now := k.meters[i].total()
		if now.Rules == nil {
			now.Rules = []injector.RuleStats{{}} // it has yet to begin, and keeps its place
		}
		rules := append(all.Rules, now.Rules...)
		all.Rules = nil
		all = all.Plus(now)
		all.Rules = rules
	}
	return all
}

// conclude adds the cases of a scenario that has ended.
func (k *keeper) conclude(r *Result) {
	if k.ev == nil {
		return
	}
	for i := range r.Entries {
		k.ev.Add(r.Entries[i].verdict(), k.meters[i].rec)
	}
	for i := range r.Probes {
		k.ev.Add(r.Probes[i].verdict(), nil)
	}
	switch c := r.Code; {
	case c != event.CodeOK && c != event.CodeProbe && c != event.CodeNeverFired && c < 128:
		k.ev.Add(report.Case{Name: theScenario, Verdict: report.Broken, Reason: strings.Join(r.Why, "; "), Start: k.play.began}, nil)
	}
}

// asCase is the case of an entry that has done so much, without a verdict.
func (e *EntryResult) asCase(did injector.Snapshot) report.Case {
	return report.Case{
		Name: e.Entry.Name, Fault: e.plan.Spec.Faults[0].Name, Target: strings.Join(e.plan.Spec.FaultNames(), " and ") + ": " + e.plan.Scope(),
		Faults: evidence.FaultStats(did),
	}
}

// verdict is the case of an entry.
func (e *EntryResult) verdict() report.Case {
	c := e.asCase(e.Stats)
	c.Verdict, c.Took = report.Done, e.Took
	if !e.WasActive() {
		c.Verdict, c.Reason = report.Skipped, "It never became active."
		return c
	}
	c.AnswersLost, c.SentAgain = experiment.AnswersLost(e.Stats)
	j := e.judged()
	v := evidence.VerdictOf(j.Verdict)
	switch {
	case len(e.shortage) > 0 && !e.MayIdle:
		if c.Verdict = v; !v.Idle() {
			c.Verdict = report.NeverFired // it fired too seldom
		}
		c.Reason = strings.Join(e.shortage, " ")
	case v == report.NeverFired:
		c.Reason = "It never fired, and need not have."
	case v.Idle():
		c.Reason = "Nothing was learnt of it (" + string(v) + "), and nothing need be."
	case v == report.Prevented:
		c.Verdict, c.Reason = v, strings.Join(e.plan.Why(experiment.Result{Stats: e.Stats, NAT: e.NAT}, j), " ")
	}
	return c
}

// verdict is the case of a probe.
func (p *ProbeResult) verdict() report.Case {
	c := report.Case{Name: p.Probe.Name, Target: "probe", Verdict: report.Passed, Start: p.Begun, Took: p.Took}
	switch {
	case !p.Before.Tried && !p.During && !p.After.Tried:
		c.Verdict, c.Reason = report.Skipped, "It was never asked."
	case len(p.Failures) > 0:
		c.Verdict, c.Reason = report.Failed, strings.Join(p.Failures, "; ")
	case p.After.Tried:
		c.Reason = "It passed " + p.Recovered.Round(time.Millisecond).String() + " after the timeline was over."
	}
	return c
}
