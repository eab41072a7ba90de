package injector

import (
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
)

// timersAtOnce is how much of what is due is done before the queue is looked at
// again: a packet that waits there is not late yet, but what delays it counts from
// when it is seen.
const timersAtOnce = nfqueue.BatchSize

// runTimers does what is due, in its order.
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
		default: // it would be due after the run's end
			l.flow.timer = faults.Never
		}
	}
	w.flushCopies()
	if w.late.n > 0 {
		w.late.tell(&w.totals.latency, w.clock()-now)
	}
}

// schedule sees to it that the flow's next alarm is in the heap.
func (w *worker) schedule(f *entry) {
	if next := f.chain.NextWake(); next < f.timer {
		f.timer = next
		w.timers.add(timer{at: next, kind: wakeFlow, flow: f})
		w.timers.sweep(len(w.flows.flows))
	}
}

// wakeFlow runs the alarms of a flow that are due. An alarm that was put off
// meanwhile is scheduled anew.
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
		if !w.watcher.MayStrike(f.outcome, d, false, now) {
			w.change(f, w.leave(f, now), func() {})
			return
		}
		w.watcher.Alarm(f.outcome, d, now)
		w.note(f, who, false)
		w.watcher.Conclude(f.outcome, w.out.Hold > 0, now)
		w.commitWake(f, now)
	}
	w.mayPark(f, now)
}

// commitWake carries out what a fault wants on its alarm. No packet is at hand
// to change the sets, so the setWriter does, and what was forged leaves after
// that: its answer must meet the changed sets.
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

// mayPark sees to the flow's next alarm, and to its being parked if the kernel lets it
// pass from here on: it will have its alarm in its record then.
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
