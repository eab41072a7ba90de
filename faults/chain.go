package faults

import (
	"math"
	"time"
)

// Never is the time of an alarm that is not set.
const Never = time.Duration(math.MaxInt64)

// A Chain is the faults of one flow, asked in order. The first that accepts or
// drops a segment decides it. A Chain is used like a Fault, by one goroutine.
type Chain struct {
	links []link
}

type link struct {
	fault    Fault
	wakeAt   time.Duration
	released bool
	onPath   bool // see pathFault
}

// NewChain makes the faults of one flow from the instances of its rules.
func NewChain(instances []Instance) *Chain {
	c := &Chain{links: make([]link, len(instances))}
	for n, i := range instances {
		f := i.New()
		_, onPath := f.(pathFault)
		c.links[n] = link{fault: f, wakeAt: Never, onPath: onPath}
	}
	return c
}

// OnSegment asks the faults in order, except those that have released the flow.
// Afterwards out says what all of them want together: the flow is captured if one
// fault wants it whole, and released only when all of them have finished with it.
//
// It returns the verdict and the ordinal of the fault that gave it, or of the
// last one that left a note, or else of the first that did anything else to the segment or
// for it; -1 if none did.
func (c *Chain) OnSegment(ev *Event, out *Effects) (Verdict, int) {
	who, splitter, captured := -1, -1, false
	for i := range c.links {
		l := &c.links[i]
		if l.released || ev.Damaged && !l.onPath {
			continue
		}
		notes, forged, hold, changed := len(out.Notes), len(out.Forged), out.Hold, out.changed
		v := l.ask(ev, out)
		captured = captured || out.capture
		if len(out.Notes) > notes {
			who = i
		} else if who < 0 && (len(out.Forged) > forged || out.Hold != hold || out.changed && !changed) {
			who = i
		}
		if out.split && splitter < 0 {
			splitter = i
		}
		if v == Drop {
			out.unsplit()
		}
		if v != Pass {
			who = i
			c.settle(ev, out, captured)
			return c.whole(v, out), who
		}
	}
	c.settle(ev, out, captured)
	if out.split {
		who = splitter
	}
	return c.whole(Accept, out), who
}

// whole is the verdict on a segment that may have been split.
func (c *Chain) whole(v Verdict, out *Effects) Verdict {
	if out.split {
		return Drop
	}
	return v
}

// OnWake runs the alarm that is due at ev.At, if any, and returns the ordinal
// of its fault, or -1. Call it again until it returns -1.
func (c *Chain) OnWake(ev *Event, out *Effects) int {
	for i := range c.links {
		l := &c.links[i]
		if l.wakeAt > ev.At {
			continue
		}
		l.wakeAt = Never
		w, ok := l.fault.(Waker)
		if !ok {
			continue
		}
		out.capture, out.release, out.waking = false, false, false
		w.OnWake(ev, out)
		captured := out.capture
		l.keep(ev, out)
		c.settle(ev, out, captured)
		return i
	}
	return -1
}

// Bury closes what the faults have left open of the flow, before a new connection on
// its addresses and ports begins. ev.Seg is the zero Segment.
func (c *Chain) Bury(ev *Event, out *Effects) {
	for i := range c.links {
		if b, ok := c.links[i].fault.(burier); ok {
			b.bury(ev, out)
		}
	}
}

// NextWake returns the time of the earliest alarm, or Never.
func (c *Chain) NextWake() time.Duration {
	next := Never
	for i := range c.links {
		next = min(next, c.links[i].wakeAt)
	}
	return next
}

// Due returns the ordinal of the fault whose alarm OnWake would run at that time,
// or -1.
func (c *Chain) Due(at time.Duration) int {
	for i := range c.links {
		if c.links[i].wakeAt <= at {
			return i
		}
	}
	return -1
}

func (l *link) ask(ev *Event, out *Effects) Verdict {
	out.capture, out.release, out.waking = false, false, false
	v := l.fault.OnSegment(ev, out)
	l.keep(ev, out)
	return v
}

// keep records what the fault has just asked for itself, rather than for the chain:
// its alarm, and whether it has finished. A fault that releases the flow and asks
// to be woken may capture the flow again when it wakes.
func (l *link) keep(ev *Event, out *Effects) {
	switch {
	case out.release:
		l.released, l.wakeAt = true, Never
	case out.capture:
		l.released = false
	}
	if out.waking {
		l.wakeAt = ev.At + out.wake
	}
	out.waking = false
}

// settle writes into out what the whole chain wants.
func (c *Chain) settle(ev *Event, out *Effects, captured bool) {
	out.date(ev.Flow.RTT)
	all := true
	for i := range c.links {
		all = all && c.links[i].released
	}
	out.capture, out.release = captured, all && !captured
}
