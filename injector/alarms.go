package injector

import (
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
)

// timersAtOnce is how many due timers run before the worker looks at its queue again. A
// packet that waits in the queue is not late yet, but its delay counts from the moment
// it is seen.
const timersAtOnce = nfqueue.BatchSize

// runTimers runs the timers that are due, in order of time.
func (w *worker) runTimers(now time.Duration) {
	by := w.drainTime(now)
	for range timersAtOnce {
		at, ok := w.timers.next()
		if !ok || at > by {
			break
		}
		l := w.timers.take()
		switch {
		case l.kind != wakeFlow:
			w.release(&l, now)
		case at <= now:
			w.flushCopies()
			w.wakeFlow(l.flow, now)
		default: // it would be due after the end of the run
			l.flow.timer = faults.Never
		}
	}
	w.flushCopies()
	if w.late.n > 0 {
		w.late.tell(&w.totals.latency, w.clock()-now)
	}
}

// schedule makes sure that the flow's next alarm is in the heap.
func (w *worker) schedule(f *entry) {
	if next := f.chain.NextWake(); next < f.timer {
		f.timer = next
		w.timers.add(timer{at: next, kind: wakeFlow, flow: f})
		w.timers.sweep(len(w.flows.flows))
	}
}

// wakeFlow runs the alarms of a flow that are due. An alarm that was postponed in the
// meantime is scheduled again.
func (w *worker) wakeFlow(f *entry, now time.Duration) {
	f.timer = faults.Never
	if f.deleted || f.chain == nil {
		return
	}
	if n := w.adjusted.Load(); f.adjustedAt != n {
		w.adjust(f, n)
	}
	for f.chain != nil && f.chain.NextWake() <= now {
		w.out.Reset()
		w.ev = faults.Event{At: now, Flow: &f.Flow, Rand: f.rng, Idle: w.sets.idle(f.links[f.chain.Due(now)].rule, flowKey{f.Client, f.Server})}
		who := f.chain.OnWake(&w.ev, &w.out)
		d := w.decision(f, faults.Pass, who)
		if !w.watcher.MayStrike(f.outcome, &d, false, now) {
			w.change(f, w.leave(f, now), func() {})
			return
		}
		w.watcher.Alarm(f.outcome, &d, now)
		w.note(f, who, false)
		w.watcher.Conclude(f.outcome, w.leaves(), now)
		w.commitWake(f, now)
	}
	w.mayPark(f, now)
}

// commitWake carries out what a fault wants at its alarm. There is no packet whose
// verdict could change the sets, so the setWriter changes them. Forged segments leave
// after that, because their answers must meet the changed sets.
func (w *worker) commitWake(f *entry, now time.Duration) {
	sig := w.signals(f, now) &^ ruleset.Admit
	if sig == 0 {
		w.sendForged(f, faults.Original, 0, now, nil)
		return
	}
	var pkts []timer
	w.sendForged(f, faults.Original, 0, now, &pkts)
	w.change(f, sig, func() {
		for _, l := range pkts {
			w.transmitNow(f, l.dir(), l.pkt, l.mark, l.iface)
		}
	})
}

// mayPark schedules the flow's next alarm, or lets the flow be parked if the kernel
// accepts its packets from now on: then the alarm goes into its record.
func (w *worker) mayPark(f *entry, now time.Duration) {
	w.quiet(f, now)
	if f.chain != nil && (!f.queued || f.chain.NextWake() <= now+time.Second) {
		w.schedule(f)
	}
}

// parkIdle parks flows that have been quiet for long enough.
func (w *worker) parkIdle(now time.Duration) {
	for range parkBatch {
		stays, more := w.parkNext(now)
		if !more {
			return
		}
		if stays != nil {
			w.schedule(stays)
		}
	}
}

// wakeParked runs the alarms of parked flows that are due.
func (w *worker) wakeParked(now time.Duration) {
	for range parkBatch {
		f := w.due(now)
		if f == nil {
			return
		}
		w.wakeFlow(f, now)
	}
}
