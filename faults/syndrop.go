package faults

import (
	"sync/atomic"
	"time"

	"github.com/faultctl/faultctl/faults/clue"
	"github.com/faultctl/faultctl/faults/packet"
)

var synDropKind = Kind{
	Name: "syn-drop", Group: "reset",
	Cause:   "The listener's backlog is full: Linux drops the SYN silently, whatever tcp_abort_on_overflow says, and sends no answer.",
	Symptom: "connect hangs while the kernel retransmits the SYN after 1, 2, 3, 4, 5, 7, 11 s and so on, and fails with ETIMEDOUT after about two minutes (Java: Connection timed out, or connect timed out with a timeout of its own). Established connections are not affected.",
	Remedy:  "Set a connect timeout of a few seconds and retry with backoff; accept faster, or give the listener a larger backlog (and raise net.core.somaxconn).",
	Example: "faultctl inject syn-drop --attempts 1 --to :5432",
	Demo:    Demo{Settings: "attempts=2"},
	Verify:  []Verify{{Settings: "attempts=1"}},
	Shows: []clue.Prediction{{
		Must:    clue.Of(clue.Connecting, clue.Silence),
		Cannot:  clue.Of(clue.Unreachable),
		Likely:  clue.Of(clue.OthersLive, clue.Connecting),
		Settles: "the counters ListenOverflows and TCPReqQFullDrop at the server (nstat); a capture there: if the SYNs do not arrive, the path drops them",
	}},
	New: func() Model { return new(SYNDrop) },
}

// SYNDrop is the fault syn-drop: a SYN meets a full backlog and is dropped
// without a word, as Linux does (tcp_conn_request, ListenOverflows). Nothing
// that is established notices.
type SYNDrop struct {
	Attempts int     `knob:"attempts" help:"drop the first N SYNs of each connection; 0: all"`
	Backlog  int     `knob:"backlog" alias:"queue" help:"drop only SYNs that find a backlog of this size full; 0: it is always full"`
	Drain    float64 `knob:"drain" alias:"rate" help:"how many connections a second leave the backlog; with --backlog"`
}

// Validate implements Model.
func (m *SYNDrop) Validate() error {
	if err := judge(m); err != nil {
		return err
	}
	switch {
	case !(m.Drain >= 0 && m.Drain <= 1e9):
		return wrong(m, "drain", "it lies outside 0 to 1e9 a second")
	case m.Backlog == 0 && m.Drain > 0:
		return wrong(m, "drain", "it says how fast a backlog drains: give its size with backlog")
	case m.Backlog > 0 && m.Attempts > 0:
		return wrong(m, "attempts", "attempts and backlog are two ways to choose the SYNs: give one")
	}
	return nil
}

// Diverts implements Model.
func (m *SYNDrop) Diverts() Diversion { return Diversion{SYN: true, NoCapture: true, Super: true} }

// Start implements Model.
func (m *SYNDrop) Start() Instance {
	m = completed(m)
	b := &backlog{size: m.Backlog}
	if m.Drain > 0 {
		b.each = time.Duration(float64(time.Second) / m.Drain)
	}
	return PerFlow(func() Fault { return &synDrop{m: m, backlog: b} })
}

type synDrop struct {
	m        *SYNDrop
	backlog  *backlog
	seen     int
	admitted bool
}

func (s *synDrop) OnSegment(ev *Event, out *Effects) Verdict {
	if f := ev.Seg.Flags(); !f.Has(packet.SYN) || f.Has(packet.ACK) {
		return Pass
	}
	s.seen++
	if s.room(ev) {
		return Pass
	}
	out.Note(Dropped, Server, "SYN dropped: backlog full")
	return Drop
}

// room reports whether this SYN finds room.
func (s *synDrop) room(ev *Event) bool {
	if s.m.Backlog == 0 {
		return s.m.Attempts > 0 && s.seen > s.m.Attempts
	}
	if !s.admitted { // a retransmission of an admitted SYN takes no second place
		s.admitted = s.backlog.enter(ev.At)
	}
	return s.admitted
}

// Adjust implements Adjuster. Places that are taken stay so, if both backlogs drain or
// neither does.
func (s *synDrop) Adjust(fresh Fault) {
	f := fresh.(*synDrop)
	if (s.backlog.each > 0) == (f.backlog.each > 0) {
		raise(&f.backlog.taken, s.backlog.taken.Load())
	}
	s.m, s.backlog = f.m, f.backlog
}

// backlog is a queue of fixed size that drains at a steady rate. The flows of a
// rule share it, as a listener has one backlog for all. Only its next-free time is kept, in one atomic word.
type backlog struct {
	size  int
	each  time.Duration // time for one place to become free; 0: none ever does
	taken atomic.Int64  // places taken for ever, or the time at which the last one taken is free
}

// enter takes a place at the given time, and reports whether there was one.
func (b *backlog) enter(at time.Duration) bool {
	for {
		t := b.taken.Load()
		next := t + 1
		full := t >= int64(b.size)
		if b.each > 0 {
			next = max(t, int64(at)) + int64(b.each)
			full = next > int64(at)+int64(b.size)*int64(b.each)
		}
		if full {
			return false
		}
		if b.taken.CompareAndSwap(t, next) {
			return true
		}
	}
}

// Park implements Parker.
func (s *synDrop) Park() (uint64, bool) { return pack(time.Duration(s.seen), s.admitted), true }

// Unpark implements Parker.
func (s *synDrop) Unpark(state uint64) {
	seen, admitted := unpack(state)
	s.seen, s.admitted = int(seen), admitted
}
