package injector

import "time"

// Before the end of a run nothing more is held back, and what is held leaves: in
// its order and at its own pace, so that it neither is passed by what comes
// meanwhile nor leaves in one burst that a slow device cannot take. Only then the
// rules go.

// letGoWithin is how long that takes at most: what would be held for longer leaves
// so much faster.
const letGoWithin = 200 * time.Millisecond

// ending is the end of a run, as a worker sees it.
type ending struct {
	begun bool
	at    time.Duration // when it began
	pace  time.Duration // how much faster than real time what is held gets due
	calm  chan struct{} // closed when nothing is held any more
}

// letGo makes the worker let go what it holds, and closes calm when it has. Any
// goroutine may call it, once.
func (w *worker) letGo(calm chan struct{}) {
	w.post(func() {
		now := w.clock()
		w.ending = ending{begun: true, at: now, pace: 1, calm: calm}
		for i := range w.holder.heap {
			if l := &w.holder.heap[i]; l.kind != wakeFlow {
				w.ending.pace = max(w.ending.pace, (l.at-now+letGoWithin-1)/letGoWithin)
			}
		}
	})
}

// by is the time by which what is held leaves.
func (w *worker) by(now time.Duration) time.Duration {
	if !w.ending.begun {
		return now
	}
	return w.ending.at + (now-w.ending.at)*w.ending.pace
}

// calms tells whoever waits for it that nothing is held any more.
func (w *worker) calms() {
	if w.ending.calm != nil && w.holder.held == 0 {
		close(w.ending.calm)
		w.ending.calm = nil
	}
}

// letGo makes all workers let go what they hold, and waits until they have, or are
// gone, or it has taken too long: what comes in may never let them.
func (c *crew) letGo() {
	late := time.After(2 * letGoWithin)
	calms := make([]chan struct{}, len(c.workers))
	for i, w := range c.workers { // all at once, then wait
		calms[i] = make(chan struct{})
		w.letGo(calms[i])
	}
	for _, calm := range calms {
		select {
		case <-calm:
		case <-c.gone:
		case <-late:
			return
		}
	}
}
