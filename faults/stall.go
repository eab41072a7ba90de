package faults

import (
	"errors"
	"time"

	"github.com/faultctl/faultctl/faults/packet"
)

// Stall is the fault stall: the peer has stopped reading. Its window closes as
// data fills its buffer, never by taking back what it offered (RFC 9293 section
// 3.8.6), and its kernel goes on answering probes.
type Stall struct {
	Side Side          `knob:"side" help:"who stops reading"`
	At   Trigger       `knob:"at" help:"when"`
	Dir  Side          `knob:"dir" help:"whose payload counts for --at bytes=N: that of the client, of the server, or of both"`
	For  time.Duration `knob:"for" help:"how long; 0: for good"`
}

// Validate implements Model.
func (m *Stall) Validate() error {
	switch {
	case m.Side == Both:
		return errors.New("side is the end that stops reading: client or server")
	case m.For < 0:
		return errors.New("for is negative")
	}
	return m.At.counts(m.Dir)
}

// Diverts implements Model.
func (m *Stall) Diverts() Diversion { return m.At.diverts().Union(Diversion{Whole: true}) }

// New implements Model.
func (m *Stall) New() Fault { return &stall{m: m} }

type stall struct {
	m       *Stall
	trigger trigger
	begun   bool
	over    bool
	edge    packet.Seq // the right edge of the window that was offered last
	hasEdge bool
}

func (s *stall) OnSegment(ev *Event, out *Effects) Verdict {
	if !s.begun && s.trigger.onSegment(&s.m.At, ev, out) {
		s.begin(out)
	}
	if ev.Dir.From() != s.m.Side || ev.Seg.Flags().Has(packet.RST) {
		return Pass
	}
	if !s.begun || s.over || ev.Seg.Flags().Has(packet.SYN) {
		s.edge, s.hasEdge = s.offered(ev)
		return Pass
	}
	window := uint16(0)
	if s.hasEdge {
		if left := s.edge.Sub(ev.Seg.Ack()); left > 0 {
			window = uint16(min(left>>s.scale(ev.Flow), 0xffff))
		}
	}
	switch {
	case ev.Seg.Window() <= window:
		return Pass
	case !ev.Seg.Complete():
		out.Cut()
		return Pass
	}
	w := out.Copy(ev.Seg)
	w.SetWindow(window)
	w.UpdateChecksums()
	out.Replace(w)
	return Pass
}

// OnWake implements Waker: the stall begins by age, or is over. Then the peer
// says that there is room again, as it would when it reads.
func (s *stall) OnWake(ev *Event, out *Effects) {
	switch {
	case !s.begun && s.trigger.onWake(&s.m.At):
		s.begin(out)
	case s.begun && !s.over:
		s.over = true
		if f, ok := ev.Flow.Continue(s.m.Side.Sends(), ev.At, packet.ACK); ok {
			out.Forge(f, nil)
		}
		out.Release()
	}
}

func (s *stall) begin(out *Effects) {
	s.begun = true
	out.Capture()
	if s.m.For > 0 {
		out.Wake(s.m.For)
	}
	out.Note(Rewritten, s.m.Side.Other(), "the peer has stopped reading")
}

// offered is the right edge of the window that the segment offers. Without the
// SYN its scale is unknown, and then the window closes at once. The window of a
// SYN is never scaled (RFC 7323 section 2.2).
func (s *stall) offered(ev *Event) (packet.Seq, bool) {
	if !ev.Flow.Half[ev.Dir].SYN || !ev.Seg.Flags().Has(packet.ACK) {
		return 0, false
	}
	scale := s.scale(ev.Flow)
	if ev.Seg.Flags().Has(packet.SYN) {
		scale = 0
	}
	return ev.Seg.Ack().Add(uint32(ev.Seg.Window()) << scale), true
}

// scale is the shift count of the stalled side: none unless both offered one
// (RFC 7323 section 2.2).
func (s *stall) scale(f *Flow) int8 {
	from, peer := &f.Half[s.m.Side.Sends()], &f.Half[s.m.Side.Sends().Flip()]
	if from.Scale < 0 || peer.Scale < 0 {
		return 0
	}
	return from.Scale
}
