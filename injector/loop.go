package injector

import (
	"fmt"
	"time"

	"github.com/faultctl/faultctl/injector/internal/nfqueue"
)

// idleWait is how long a worker without work sleeps: it must kick the
// watchdog.
const idleWait = 100 * time.Millisecond

// run judges packets until stop, then lets go what is left in the queue.
func (w *worker) run() error {
	for !w.stopping.Load() {
		now := w.clock()
		w.dog.Kick(now)
		w.since(now)
		w.runPosted()
		w.runTimers(now)
		w.unparkDue(now)
		w.parkIdle(now)
		w.flush()
		w.tellDrained()
		n, more, err := w.queue.Receive(w.pkts[:], w.patience())
		if err != nil {
			return err
		}
		w.batch++
		received := w.clock()
		if !w.gsoQueue {
			w.received(n)
		}
		for i := range n {
			w.handle(&w.pkts[i])
			if p := &w.pkts[i]; p.GSO && p.ID.InGSO() { // that was as many as a batch has
				w.flush()
				w.runTimers(w.clock())
			}
		}
		if w.gsoQueue { // now it is known which of them come again
			w.received(n)
		}
		if !more {
			w.emptied = w.batch
		}
		w.flush()
		w.totals.latency.observe(w.clock()-received, n)
	}
	return w.emptyQueue()
}

// received counts the packets of a batch, but for those that come again.
func (w *worker) received(n int) {
	w.totals.diverted.Add(uint64(n - w.requeuedNow))
	w.requeuedNow = 0
}

// flush sends the verdicts that the queue has kept back.
func (w *worker) flush() {
	w.verdictsKept, w.outputKept = false, false
	if err := w.queue.Flush(); err != nil {
		w.log.Warn("verdict lost", "error", err)
	}
}

// patience is how long the worker may wait for packets.
func (w *worker) patience() time.Duration {
	wait := idleWait
	now := w.clock()
	if at, ok := w.timers.next(); ok {
		wait = min(wait, (at-w.drainTime(now))/max(1, w.draining.pace))
	}
	if at, ok := w.parked.nextAlarm(); ok {
		wait = min(wait, at-now)
	}
	if at, ok := w.idle.next(); ok { // the alarms of those that rest are not in a heap yet
		wait = min(wait, at-now)
	}
	return max(0, wait)
}

// stop makes run drain the queue and return. Any goroutine may call it.
func (w *worker) stop() {
	w.stopping.Store(true)
	w.queue.Wake()
}

// emptyWait is how long the queue must stay empty before it counts as empty:
// a packet that met the rules just before they went may still be on its way.
const emptyWait = 3 * time.Millisecond

// emptyQueue lets go all that is held, all that waits for a change of the kernel's
// sets, and all that is still in the queue. The rules that queue are gone by now.
func (w *worker) emptyQueue() error {
	w.releaseAll()
	for {
		w.runPosted()
		if err := w.queue.Flush(); err != nil {
			return fmt.Errorf("drain queue: %w", err)
		}
		n, more, err := w.queue.Receive(w.pkts[:], emptyWait)
		if n == 0 && w.changing == 0 && !w.posted.Load() || err != nil {
			return err
		}
		w.batch++
		for i := range n {
			p := &w.pkts[i]
			if p.ID.InGSO() && w.requeued != 0 && w.emptied <= w.requeued { // others were handed back that have yet to come
				w.requeue(p)
				continue
			}
			if w.isRequeued(p) {
				w.totals.segments.Add(1)
			}
			w.queue.Verdict(nfqueue.Verdict{ID: p.ID})
		}
		w.received(n)
		if !more {
			w.emptied = w.batch
		}
	}
}

// releaseAll has all that is held leave, and forgets alarms. The rules that queue are
// gone by now, and what verdicts have to say with them.
func (w *worker) releaseAll() {
	for w.timers.heap.Len() > 0 {
		if l := w.timers.take(); l.kind != wakeFlow {
			l.signal = 0 // nobody listens any more
			w.release(&l)
		}
	}
	w.flushCopies()
}
