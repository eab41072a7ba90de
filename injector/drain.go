package injector

import "time"

// Before a run ends or is paused, no more packets are held, and the held packets leave,
// in order and at their own pace: newer packets do not overtake them, and they do not
// leave in one burst that a slow device cannot take. The rules are removed only after
// that.

// drainWithin is how long that takes at most. If packets would be held for longer,
// all of them leave faster, in proportion.
const drainWithin = 200 * time.Millisecond

// draining is the progress of a drain. In the zero value it has not begun.
type draining struct {
	begun   bool
	at      time.Duration // when it began
	pace    time.Duration // how much faster than real time held packets become due
	drained chan struct{} // closed when no packet is held
}

// drain begins to drain, and closes done when no packet is held.
func (o *outbox) drain(now time.Duration, done chan struct{}) {
	o.draining = draining{begun: true, at: now, pace: 1, drained: done}
	for i := range o.timers.heap.Len() {
		if l := o.timers.heap.At(i); l.kind != wakeFlow {
			o.draining.pace = max(o.draining.pace, (l.at-now+drainWithin-1)/drainWithin)
		}
	}
}

// drainTime is the clock that decides which held packets are due.
func (o *outbox) drainTime(now time.Duration) time.Duration {
	if !o.draining.begun {
		return now
	}
	return o.draining.at + (now-o.draining.at)*o.draining.pace
}

// tellDrained closes the channel of the drain once no packet is held.
func (o *outbox) tellDrained() {
	if o.draining.drained != nil && o.timers.held == 0 {
		close(o.draining.drained)
		o.draining.drained = nil
	}
}
