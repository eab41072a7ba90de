package injector

import "time"

// Before a run ends or is paused nothing more is held back, and what is held leaves: in
// its order and at its own pace, so that it is neither passed by what comes meanwhile
// nor leaves in one burst that a slow device cannot take. Only then the rules go.

// drainWithin is how long that takes at most: what would be held for longer leaves
// faster by as much.
const drainWithin = 200 * time.Millisecond

// draining is how that is going. The zero value is that it has not begun.
type draining struct {
	begun   bool
	at      time.Duration // when it began
	pace    time.Duration // how much faster than real time what is held gets due
	drained chan struct{} // closed when nothing is held any more
}

// drain begins it, and closes done when nothing is held any more.
func (o *outbox) drain(now time.Duration, done chan struct{}) {
	o.draining = draining{begun: true, at: now, pace: 1, drained: done}
	for i := range o.timers.heap.Len() {
		if l := o.timers.heap.At(i); l.kind != wakeFlow {
			o.draining.pace = max(o.draining.pace, (l.at-now+drainWithin-1)/drainWithin)
		}
	}
}

// drainTime is the time by which what is held leaves.
func (o *outbox) drainTime(now time.Duration) time.Duration {
	if !o.draining.begun {
		return now
	}
	return o.draining.at + (now-o.draining.at)*o.draining.pace
}

// tellDrained tells whoever waits for it that nothing is held any more.
func (o *outbox) tellDrained() {
	if o.draining.drained != nil && o.timers.held == 0 {
		close(o.draining.drained)
		o.draining.drained = nil
	}
}

// drain has all workers let what they hold leave, and waits until they have, or are
// gone, or it has taken too long: what comes in may never let them.
func (c *workers) drain() {
	late := time.After(2 * drainWithin)
	done := make([]chan struct{}, len(c.all))
	for i, w := range c.all { // all at once, then wait
		done[i] = make(chan struct{})
		w.post(func() { w.drain(w.clock(), done[i]) })
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
