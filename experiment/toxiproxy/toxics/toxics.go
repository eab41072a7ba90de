// Package toxics says what Toxiproxy's toxics do to one direction of a connection, as
// streams: to pieces of data with the times at which they came, and to the end. A
// [Pipe] has the toxics of one direction, and knows neither sockets nor clocks.
//
// The types and their JSON are those of Toxiproxy's API, so that its clients and their
// users read the same words, also in errors about them.
package toxics

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// A Toxic is the settings of one. They must not change once a Pipe has them.
type Toxic interface {
	// put takes data that arrived. What is not kept in the stage is gone.
	put(s *stage, now time.Time, c chunk)

	// step passes on what is due, and says when the next will be, never being the
	// zero time.
	step(s *stage, now time.Time, pass func(chunk)) (next time.Time)

	// room is how many bytes a stage keeps before nothing more is read.
	room() int
}

// ToxicWrapper is a toxic as the API has it.
type ToxicWrapper struct {
	Toxic    `json:"attributes"`
	Name     string  `json:"name"`
	Type     string  `json:"type"`
	Stream   string  `json:"stream"`
	Toxicity float32 `json:"toxicity"` // the share of connections that it strikes, 0 to 1
}

// New makes a toxic of that type with no settings; nil: there is no such type.
func New(kind string) Toxic {
	switch kind {
	case "latency":
		return new(LatencyToxic)
	case "bandwidth":
		return new(BandwidthToxic)
	case "slow_close":
		return new(SlowCloseToxic)
	case "timeout":
		return new(TimeoutToxic)
	case "reset_peer":
		return new(ResetToxic)
	case "slicer":
		return new(SlicerToxic)
	case "limit_data":
		return new(LimitDataToxic)
	case "noop":
		return new(NoopToxic)
	}
	return nil
}

// Types are the types that New knows.
var Types = strings.Fields("latency bandwidth slow_close timeout reset_peer slicer limit_data noop")

const (
	fewBytes  = 64 << 10 // what a stage keeps that delays nothing
	manyBytes = 32 << 20 // what one keeps that delays all
)

// NoopToxic does nothing.
type NoopToxic struct{}

func (*NoopToxic) put(s *stage, _ time.Time, c chunk) { s.keep(c) }
func (*NoopToxic) room() int                          { return fewBytes }

func (*NoopToxic) step(s *stage, _ time.Time, pass func(chunk)) (next time.Time) {
	for s.mayPass() {
		pass(s.take())
	}
	return next
}

// LatencyToxic passes data on later. Neither the handshake nor the end of the stream
// is late.
type LatencyToxic struct {
	Latency int64 `json:"latency"` // milliseconds
	Jitter  int64 `json:"jitter"`  // milliseconds: how much the latency varies in both directions, evenly
}

func (*LatencyToxic) put(s *stage, _ time.Time, c chunk) { s.keep(c) }
func (*LatencyToxic) room() int                          { return manyBytes }

func (t *LatencyToxic) step(s *stage, now time.Time, pass func(chunk)) (next time.Time) {
	for s.mayPass() {
		if s.due.IsZero() {
			late := time.Duration(t.Latency) * time.Millisecond
			if j := time.Duration(t.Jitter) * time.Millisecond; j > 0 {
				late += rand.N(2*j) - j
			}
			s.due = s.q[0].at.Add(max(0, late))
		}
		if s.due.After(now) {
			return s.due
		}
		c := s.take()
		c.at, s.due = s.due, time.Time{}
		pass(c)
	}
	return next
}

// BandwidthToxic passes data on at a limited rate. A rate of zero or less lets nothing
// pass.
type BandwidthToxic struct {
	Rate int64 `json:"rate"` // in 1000 bytes a second
}

func (*BandwidthToxic) put(s *stage, _ time.Time, c chunk) { s.keep(c) }

// A queue of some milliseconds keeps the rate exact although timers are late.
func (t *BandwidthToxic) room() int { return int(min(max(t.Rate, 0), 100_000)*20 + 16<<10) }

func (t *BandwidthToxic) step(s *stage, now time.Time, pass func(chunk)) (next time.Time) {
	for s.mayPass() && t.Rate > 0 {
		head := s.q[0]
		if s.free.Before(head.came) {
			s.free = head.came
		}
		n := int(min(int64(len(head.data)), max(t.Rate*5, 100))) // 5 ms of it: no burst is longer
		due := s.free.Add(time.Duration(float64(n) / float64(t.Rate) * float64(time.Millisecond)))
		if due.After(now) {
			return due
		}
		s.free = due
		pass(s.takeBytes(n))
	}
	return next
}

// SlowCloseToxic passes the end of the stream on later.
type SlowCloseToxic struct {
	Delay int64 `json:"delay"` // milliseconds
}

func (*SlowCloseToxic) put(s *stage, _ time.Time, c chunk) { s.keep(c) }
func (*SlowCloseToxic) room() int                          { return fewBytes }

func (t *SlowCloseToxic) step(s *stage, now time.Time, pass func(chunk)) (next time.Time) {
	new(NoopToxic).step(s, now, pass)
	s.holdsEnd = false
	if s.end != None {
		if due := s.endCame.Add(time.Duration(t.Delay) * time.Millisecond); due.After(now) {
			s.holdsEnd = true
			return due
		}
	}
	return next
}

// TimeoutToxic lets all data vanish, and closes the connection some time after it
// began to. When it is removed, the connection is closed too.
type TimeoutToxic struct {
	Timeout int64 `json:"timeout"` // milliseconds; zero is never
}

func (*TimeoutToxic) put(*stage, time.Time, chunk) {}
func (*TimeoutToxic) room() int                    { return fewBytes }

func (t *TimeoutToxic) step(s *stage, now time.Time, _ func(chunk)) (next time.Time) {
	if t.Timeout <= 0 || s.end != None {
		return next
	}
	due := s.began.Add(time.Duration(t.Timeout) * time.Millisecond)
	if due.After(now) {
		return due
	}
	s.endWith(Close, now)
	return next
}

// ResetToxic resets both ends: where a connection was open before, some time after the
// toxic was added, and elsewhere that long after the first data, or after a second
// without any. Data vanish meanwhile.
type ResetToxic struct {
	Timeout int64 `json:"timeout"` // milliseconds
}

// idleReset is how long a new connection has for its first data: nobody takes a
// reset within that time for a refused connection.
const idleReset = time.Second

func (*ResetToxic) put(s *stage, now time.Time, _ chunk) { s.strike(now) }
func (*ResetToxic) room() int                            { return fewBytes }

func (t *ResetToxic) step(s *stage, now time.Time, _ func(chunk)) (next time.Time) {
	switch {
	case s.end == Abort:
		s.holdsEnd = false
		return next
	case s.end != None:
		s.strike(s.endCame)
	case s.openBefore:
		s.strike(s.began)
	}
	from := s.struckAt
	if from.IsZero() {
		from = s.began.Add(idleReset)
	}
	due := from.Add(time.Duration(t.Timeout) * time.Millisecond)
	if s.holdsEnd = due.After(now); s.holdsEnd {
		return due
	}
	s.endWith(Abort, now)
	return next
}

// SlicerToxic passes data on in small pieces.
type SlicerToxic struct {
	AverageSize   int `json:"average_size"`   // bytes; zero or less does not slice
	SizeVariation int `json:"size_variation"` // bytes: how much the size varies in both directions
	Delay         int `json:"delay"`          // microseconds between two pieces
}

func (*SlicerToxic) put(s *stage, _ time.Time, c chunk) { s.keep(c) }
func (*SlicerToxic) room() int                          { return fewBytes }

func (t *SlicerToxic) step(s *stage, now time.Time, pass func(chunk)) (next time.Time) {
	for s.mayPass() {
		if s.due.After(now) {
			return s.due
		}
		if len(s.cuts) == 0 {
			s.cuts = t.cut(nil, len(s.q[0].data))
		}
		n := s.cuts[0]
		s.cuts = s.cuts[1:]
		pass(s.takeBytes(n))
		s.due = now.Add(time.Duration(t.Delay) * time.Microsecond)
	}
	return next
}

// cut appends the sizes of pieces that n bytes are cut into: halves of halves, until
// they are no longer than they may be, so that first and last are like the others.
func (t *SlicerToxic) cut(sizes []int, n int) []int {
	if t.AverageSize <= 0 || n < 2 || n-t.AverageSize <= max(0, t.SizeVariation) {
		return append(sizes, n)
	}
	half := n / 2
	if v := t.SizeVariation; v > 0 {
		half += rand.IntN(2*v) - v
	}
	half = min(max(half, 1), n-1)
	return t.cut(t.cut(sizes, half), n-half)
}

// LimitDataToxic closes the connection once so many bytes have passed since it was
// added.
type LimitDataToxic struct {
	Bytes int64 `json:"bytes"`
}

func (*LimitDataToxic) room() int { return fewBytes }

func (t *LimitDataToxic) put(s *stage, now time.Time, c chunk) {
	if s.end >= Close {
		return
	}
	left := max(0, t.Bytes-s.passed)
	if c.data = c.data[:min(int64(len(c.data)), left)]; len(c.data) > 0 {
		s.passed += int64(len(c.data))
		s.keep(c)
	}
	if s.passed >= t.Bytes {
		s.endWith(Close, now)
	}
}

func (*LimitDataToxic) step(s *stage, now time.Time, pass func(chunk)) time.Time {
	return new(NoopToxic).step(s, now, pass)
}

// Find is the index of the toxic with that name; negative: there is none.
func Find(all []*ToxicWrapper, name string) int {
	return slices.IndexFunc(all, func(t *ToxicWrapper) bool { return t.Name == name })
}
