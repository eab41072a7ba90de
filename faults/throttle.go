package faults

import (
	"sync/atomic"
	"time"
)

var throttleKind = Kind{
	Name: "throttle", Group: "link",
	Cause:   "A narrow link, or a rate limit, that all connections share.",
	Symptom: "Throughput stays at the limit, and latency grows by the wait in the link's queue; short requests wait behind long ones.",
	Remedy:  "Use deadlines and backpressure, limit the data in flight, and give bulk transfers connections of their own.",
	Example: "faultctl inject throttle --rate 1mbit --to :443",
	Demo:    Demo{Settings: "rate=2kbit"},
	New:     func() Model { return new(Throttle) },
}

// Throttle is the fault throttle: a narrow link that all matching connections
// share. What finds its queue full is lost, as at a router.
type Throttle struct {
	Rate  BitRate       `knob:"rate" help:"how much the link carries in each direction, IP headers included, in tc's units: 1mbit, 500kbit, 64kbps"`
	Burst Bytes         `knob:"burst" help:"how much may pass at once after a pause"`
	Queue time.Duration `knob:"queue" default:"1s" help:"the longest wait in the link's queue; a segment that would wait longer is lost"`
	Dir   Side          `knob:"dir" help:"whose segments: the client's, the server's, or both"`
}

// Validate implements Model.
func (m *Throttle) Validate() error {
	if err := judge(m); err != nil {
		return err
	}
	switch {
	case !(m.Rate >= 0 && m.Rate <= 1e12):
		return wrong(m, "rate", "it lies outside 0 to 1000gbit")
	case m.Rate == 0:
		return wrong(m, "rate", "how much does the link carry? Give a rate, such as 1mbit")
	case m.Queue > time.Minute:
		return wrong(m, "queue", "it lies outside of 0 (not included) to 1m")
	}
	return nil
}

// Diverts implements Model.
func (m *Throttle) Diverts() Diversion {
	return Diversion{SYN: true, All: true, Whole: true, Holds: true}
}

// Start implements Model.
func (m *Throttle) Start() Instance {
	m = completed(m)
	link := &narrowLink{}
	return PerFlow(func() Fault { return &throttle{m: m, link: link} })
}

type throttle struct {
	m    *Throttle
	link *narrowLink
	told [2]bool // by direction
}

// onPath implements pathFault.
func (*throttle) onPath() {}

func (t *throttle) OnSegment(ev *Event, out *Effects) Verdict {
	if !t.m.Dir.Includes(ev.Dir.From()) {
		return Pass
	}
	size := ev.Seg.HeaderLen() + ev.Seg.PayloadLen()
	wait, ok := t.link.enter(ev.Dir, ev.At, t.m.Rate.time(size), t.m.Rate.time(int(t.m.Burst)), t.m.Queue)
	if !ok {
		out.Note(Dropped, ev.Dir.To(), "the link's queue is full")
		return Drop
	}
	if wait > 0 {
		out.Delay(wait)
	}
	if wait > 0 && !t.told[ev.Dir] {
		t.told[ev.Dir] = true
		out.Note(Delayed, ev.Dir.To(), "waits in the link's queue")
	}
	return Pass
}

// Adjust implements Adjuster. What waits in the link's queue still does.
func (t *throttle) Adjust(fresh Fault) {
	f := fresh.(*throttle)
	for dir := range t.link.free {
		raise(&f.link.free[dir], t.link.free[dir].Load())
	}
	t.m, t.link = f.m, f.link
}

// narrowLink is a link as its two directions. Like a backlog it is shared by the
// flows of a rule; each direction is one atomic word: when the link has sent
// all that it took (the virtual scheduling form of the leaky bucket).
type narrowLink struct{ free [2]atomic.Int64 }

// enter sends something that takes the link a time of size, and returns how
// long it waits; false if that were longer than queue.
func (l *narrowLink) enter(dir Direction, at, size, burst, queue time.Duration) (time.Duration, bool) {
	for {
		old := l.free[dir].Load()
		start := max(time.Duration(old), at-burst)
		wait := max(0, start-at)
		if wait > queue {
			return 0, false
		}
		if l.free[dir].CompareAndSwap(old, int64(start+size)) {
			return wait, true
		}
	}
}
