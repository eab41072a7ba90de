package injector

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/outcomes"
	"github.com/faultctl/faultctl/injector/internal/watchdog"
)

// worker owns one queue and all its flows, so flows need no locks. The path of a packet
// is in path.go; this is what it relies on.
type worker struct {
	*shared
	outbox    // sends verdicts, held and forged packets
	flowStore // known connections
	segmenter // GSO packets
	mailbox   // functions that other goroutines post

	backlog backlog // what waits to be received

	dog    watchdog.Handle
	report *reporter // nil: nobody listens
	tap    *tap      // nil: nobody wants to see packets
	sets   setWriter
	names  nameReader // nil: the host translates no destinations

	watcher outcomes.Watcher // finds out what became of strikes

	noticed   uint32        // shared.changes when the worker last looked
	changedAt time.Duration // when that value was first seen
	changing  int           // how many functions beside the packet path have not finished
	stopping  atomic.Bool

	pkts [nfqueue.BatchSize]nfqueue.Packet
	ev   faults.Event
	out  faults.Effects
	buf  []byte // the packet being built
}

// newWorker makes the worker of a queue. Only one goroutine may use it, except for
// methods that say otherwise.
func newWorker(s *shared, q queue, out sender, sets setWriter, dog watchdog.Handle) *worker {
	w := &worker{shared: s, sets: sets, dog: dog, flowStore: newFlowStore(s)}
	w.backlog.queue = q
	w.outbox.run, w.queue, w.sender, w.outbox.answer, w.renamed = s, q, out, w.answer, w.rename
	w.wake = func() { w.queue.Wake() }
	w.flows.forgotten = w.forgotten
	w.watcher = outcomes.Watcher{Engine: watched{w}, Clock: s.clock, Judged: s.judges, Signed: &s.totals.signed, Early: &s.totals.early}
	w.share(1)
	w.outbox.sent = w.watcher.Sent
	w.putAway = func(f *entry) { w.finish(f, w.clock()) }
	return w
}

// share gives the worker its share of the room that a run has for connections.
func (w *worker) share(workers int) {
	w.flows.capacity, w.parked.capacity = activeRoom(workers), parkedRoom(workers)
	w.watcher.Most = maxStruck / workers
}

// tell reports an event, if anybody listens.
func (w *worker) tell(rec record) {
	if w.report != nil {
		if w.backlog.sheds() { // whoever listens takes its time of a processor too
			w.totals.lost.Add(1)
			return
		}
		rec.at = time.Now()
		w.report.put(rec)
	}
}

// note counts and records what the faults did to the flow.
func (w *worker) note(f *entry, who int, dropped bool) {
	if w.tap != nil {
		w.tap.about(f, who, w.out.Notes)
	}
	if who < 0 || who >= len(f.links) {
		return
	}
	c := f.links[who]
	if dropped {
		c.dropped.Add(1)
	}
	c.forged.Add(uint64(len(w.out.Forged)))
	if len(w.out.Notes) == 0 {
		return
	}
	if f.outcome.ClosedBefore(w.ev.At) {
		return // nothing was there
	}
	c.acted.Add(uint64(len(w.out.Notes)))
	if f.fired&(1<<who) == 0 {
		f.fired |= 1 << who
		c.fired.Add(1)
	}
	o, known := f.ordinalOf(c.rule)
	if !known { // it was parked, and a parked flow keeps only the ordinal within its own rule
		o.nth = f.nth
	}
	for _, n := range w.out.Notes {
		w.tell(record{kind: Fired, client: f.Client, server: f.Server, rule: c.rule, nth: o.nth, fault: c, note: n})
	}
}

// idleWait is how long a worker without work sleeps at most, because it must kick the
// watchdog.
const idleWait = 100 * time.Millisecond

// received counts the packets of a batch, except for those that will come again.
func (w *worker) received(n int) {
	w.totals.diverted.Add(uint64(n - w.requeuedNow))
	w.requeuedNow = 0
}

// patience is how long the worker may wait for packets from now on.
func (w *worker) patience(now time.Duration) time.Duration {
	wait := w.backlog.sleep(idleWait, now)
	if at, ok := w.timers.next(); ok {
		wait = min(wait, (at-w.drainTime(now))/max(1, w.draining.pace))
	}
	if at, ok := w.parked.nextAlarm(); ok {
		wait = min(wait, at-now)
	}
	if at, ok := w.idle.next(); ok { // the alarms of these flows are not in a heap yet
		wait = min(wait, at-now)
	}
	if at := w.watcher.Next(); at != faults.Never {
		wait = min(wait, at-now)
	}
	return max(0, wait)
}

// since returns the time since which the kernel hands over all segments of flows that
// it was not told to let pass: when the last change of the rules had taken effect, or
// when the run began. Before that it may have let a flow pass, however busy it was.
// While a change is under way, that time is now.
func (w *worker) since(now time.Duration) time.Duration {
	switch n := w.changes.Load(); {
	case n&1 != 0:
		return now
	case n != w.noticed:
		w.noticed, w.changedAt = n, now
	}
	return w.changedAt
}

// busy reports whether the kernel has recently let segments of the flow pass that keep
// it from being idle. The kernel is asked only if the worker has not seen the flow for
// that long.
func (w *worker) busy(f *entry, now time.Duration) bool {
	for _, c := range f.links {
		after := w.rules[c.rule].settings.Load().diverts.Idle
		if after != 0 && now-f.before >= after && w.sets.idle(c.rule, flowKey{f.Client, f.Server}) < after {
			return true
		}
	}
	return false
}

// stop makes run empty the queue and return. Any goroutine may call it.
func (w *worker) stop() {
	w.stopping.Store(true)
	w.queue.Wake()
}

// emptyWait is how long the queue must stay empty before it counts as empty: a packet
// that matched the rules just before they were removed may still be on its way.
const emptyWait = 3 * time.Millisecond

// emptyQueue lets everything pass that is held, that waits for a change of the kernel's
// sets, or that is still in the queue. The rules that queue packets are gone by now.
func (w *worker) emptyQueue() error {
	w.releaseAll()
	w.backlog.behind = false // what ends the connections may be told
	for {
		w.runPosted()
		if err := w.queue.Flush(); err != nil {
			return fmt.Errorf("drain queue: %w", err)
		}
		w.dog.Kick(w.clock())
		r, err := w.queue.Receive(w.pkts[:], emptyWait)
		if r.N == 0 && w.changing == 0 && !w.posted.Load() || err != nil {
			return err
		}
		w.batch++
		for i := range r.N {
			p := &w.pkts[i]
			if p.ID.InGSO() && w.requeued != 0 && w.emptied <= w.requeued { // others that were handed back have not come again yet
				w.requeue(p)
				continue
			}
			if w.isRequeued(p) {
				w.totals.segments.Add(1)
			}
			w.queue.Verdict(nfqueue.Verdict{ID: p.ID})
		}
		w.received(r.N)
		if !r.More {
			w.emptied = w.batch
		}
	}
}

// adjust gives the faults of a flow the current settings of their rules. n is the count
// of these changes.
func (w *worker) adjust(f *entry, n uint32) {
	f.adjustedAt = n
	for i := 0; i < len(f.links); {
		for _, m := range w.rules[f.links[i].rule].settings.Load().instances {
			f.chain.Adjust(i, m.New())
			i++
		}
	}
}
