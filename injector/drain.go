package injector

import "time"

// Before the end of a run nothing more is held back, and what is held leaves: in
// its order and at its own pace, so that it neither is passed by what comes
// meanwhile nor leaves in one burst that a slow device cannot take. Only then the
// rules go.

// drainWithin is how long that takes at most: what would be held for longer leaves
// so much faster.
const drainWithin = 200 * time.Millisecond

// draining is the end of a run, as a worker sees it.
type draining struct {
	begun   bool
	at      time.Duration // when it began
	pace    time.Duration // how much faster than real time what is held gets due
	drained chan struct{} // closed when nothing is held any more
}

// drain makes the worker let go what it holds, and closes done when it has. Any
// goroutine may call it, once.
func (w *worker) drain(done chan struct{}) {
	w.post(func() {
		now := w.clock()
		w.draining = draining{begun: true, at: now, pace: 1, drained: done}
		for i := range w.timers.heap.Len() {
			if l := w.timers.heap.At(i); l.kind != wakeFlow {
				w.draining.pace = max(w.draining.pace, (l.at-now+drainWithin-1)/drainWithin)
			}
		}
	})
}

// drainTime is the time by which what is held leaves.
func (w *worker) drainTime(now time.Duration) time.Duration {
	if !w.draining.begun {
		return now
	}
	return w.draining.at + (now-w.draining.at)*w.draining.pace
}

// tellDrained tells whoever waits for it that nothing is held any more.
func (w *worker) tellDrained() {
	if w.draining.drained != nil && w.timers.held == 0 {
		close(w.draining.drained)
		w.draining.drained = nil
	}
}

// drain makes all workers let go what they hold, and waits until they have, or are
// gone, or it has taken too long: what comes in may never let them.
func (c *workers) drain() {
	late := time.After(2 * drainWithin)
	done := make([]chan struct{}, len(c.all))
	for i, w := range c.all { // all at once, then wait
		done[i] = make(chan struct{})
		w.drain(done[i])
	}
	for _, done := range done {
		select {
		case <-done:
		case <-c.gone:
		case <-late:
			return
		}
	}
}
