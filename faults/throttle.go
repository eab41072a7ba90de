package faults

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Throttle is the fault throttle: a narrow link that all matching connections
// share. What finds its queue full is lost, as at a router.
type Throttle struct {
	Rate  BitRate       `knob:"rate" help:"how much the link carries each way, IP headers included, as tc has it: 1mbit, 500kbit, 64kbps"`
	Burst Bytes         `knob:"burst" help:"how much may pass at once after a pause"`
	Queue time.Duration `knob:"queue" help:"the longest wait in the link's queue; what would wait longer is lost"`
	Dir   Side          `knob:"dir" help:"whose segments: those of the client, of the server, or of both"`

	link *narrowLink
}

// Validate implements Model.
func (m *Throttle) Validate() error {
	switch {
	case m.Rate == 0:
		return errors.New("rate: how much does the link carry? Give --rate, such as 1mbit")
	case m.Queue <= 0 || m.Queue > time.Minute:
		return errors.New("queue lies outside of 0 (not included) to 1m")
	}
	m.link = &narrowLink{}
	return nil
}

// Diverts implements Model.
func (m *Throttle) Diverts() Diversion {
	return Diversion{SYN: true, All: true, Whole: true, Holds: true}
}

// New implements Model.
func (m *Throttle) New() Fault { return &throttle{m: m} }

type throttle struct {
	m    *Throttle
	told [2]bool // by direction
}

func (t *throttle) OnSegment(ev *Event, out *Effects) Verdict {
	if !t.m.Dir.Includes(ev.Dir.From()) {
		return Pass
	}
	size := ev.Seg.HeaderLen() + ev.Seg.PayloadLen()
	wait, ok := t.m.link.enter(ev.Dir, ev.At, t.m.Rate.time(size), t.m.Rate.time(int(t.m.Burst)), t.m.Queue)
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

// narrowLink is a link as its two directions. Like a backlog it is shared by the
// flows of a model; each direction is one atomic word: when the link has sent
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

// BitRate is a rate in bits a second, written as tc writes it.
type BitRate float64

var rateUnits = []struct {
	suffix string
	bits   float64
}{ // the longer suffix first
	{"gbit", 1e9}, {"mbit", 1e6}, {"kbit", 1e3}, {"bit", 1},
	{"gbps", 8e9}, {"mbps", 8e6}, {"kbps", 8e3}, {"bps", 8},
}

// TypeName implements Typed.
func (BitRate) TypeName() string { return "rate" }

// MarshalText writes the rate with the largest unit that leaves no fraction.
func (r BitRate) MarshalText() ([]byte, error) {
	for _, u := range rateUnits[:4] {
		if n := float64(r) / u.bits; n >= 1 && n == float64(int64(n)) {
			return []byte(strconv.FormatInt(int64(n), 10) + u.suffix), nil
		}
	}
	return []byte(strconv.FormatFloat(float64(r), 'g', -1, 64) + "bit"), nil
}

// UnmarshalText reads a number and a unit: bit, kbit, mbit, gbit for bits a
// second, bps, kbps, mbps, gbps for bytes a second.
func (r *BitRate) UnmarshalText(text []byte) error {
	s := strings.ToLower(string(text))
	for _, u := range rateUnits {
		num, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(num, 64)
		if err != nil || !(n > 0 && n*u.bits <= 1e12) {
			return fmt.Errorf("%q is not a rate between 0 and 1000gbit", text)
		}
		*r = BitRate(n * u.bits)
		return nil
	}
	return fmt.Errorf("%q has no unit: write 1mbit, 500kbit or 64kbps (bytes a second), as tc does", text)
}

// time returns how long the link needs for n bytes.
func (r BitRate) time(n int) time.Duration {
	return time.Duration(float64(n) * 8 / float64(r) * float64(time.Second))
}

// Bytes is a number of bytes, written as 4096, 64k or 1m (of 1024).
type Bytes int64

// TypeName implements Typed.
func (Bytes) TypeName() string { return "bytes" }

// MarshalText writes the number.
func (b Bytes) MarshalText() ([]byte, error) { return strconv.AppendInt(nil, int64(b), 10), nil }

// UnmarshalText reads a whole number that is not negative, with k or m behind
// it for 1024 and 1024².
func (b *Bytes) UnmarshalText(text []byte) error {
	s, unit := strings.ToLower(string(text)), int64(1)
	for suffix, u := range map[string]int64{"k": 1 << 10, "m": 1 << 20} {
		if num, ok := strings.CutSuffix(s, suffix); ok {
			s, unit = num, u
		}
	}
	n, err := strconv.ParseInt(s, 10, 42)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is not a number of bytes: write 4096, 64k or 1m", text)
	}
	*b = Bytes(n * unit)
	return nil
}
