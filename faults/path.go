package faults

import (
	"errors"
	"time"

	"github.com/faultctl/faultctl/faults/packet"
)

// MTUHole is the fault mtu-hole: large packets vanish, and the ICMP message
// that would say so is filtered (RFC 2923 section 2.1).
type MTUHole struct {
	Above int  `knob:"above" help:"packets with more bytes than this vanish, IP header included"`
	Dir   Side `knob:"dir" help:"whose packets: those of the client, of the server, or of both"`
}

// Validate implements Model.
func (m *MTUHole) Validate() error {
	if m.Above < 68 || m.Above > 65535 {
		return errors.New("above lies outside of 68, the smallest MTU of IPv4, to 65535")
	}
	return nil
}

// Diverts implements Model.
func (m *MTUHole) Diverts() Diversion { return Diversion{SYN: true, Above: m.Above, NoCapture: true} }

// New implements Model.
func (m *MTUHole) New() Fault { return mtuHole{m} }

type mtuHole struct{ m *MTUHole }

func (h mtuHole) OnSegment(ev *Event, out *Effects) Verdict {
	if !h.m.Dir.Includes(ev.Dir.From()) || ev.Seg.HeaderLen()+ev.Seg.PayloadLen() <= h.m.Above {
		return Pass
	}
	out.Note(Dropped, ev.Dir.To(), "too large for the path, and nobody says so")
	return Drop
}

// Partition is the fault partition: nothing arrives, in one direction or in
// both.
type Partition struct {
	Dir Side          `knob:"dir" help:"whose segments vanish: those of the client, of the server, or of both"`
	At  Trigger       `knob:"at" help:"when it begins on a connection"`
	For time.Duration `knob:"for" help:"how long it lasts on a connection; 0: until the end"`
}

// Validate implements Model.
func (m *Partition) Validate() error {
	if m.For < 0 {
		return errors.New("for is negative")
	}
	return nil
}

// Diverts implements Model.
func (m *Partition) Diverts() Diversion { return m.At.diverts() }

// New implements Model.
func (m *Partition) New() Fault { return &partition{m: m} }

type partition struct {
	m       *Partition
	trigger trigger
	since   time.Duration
	cut     bool
}

func (p *partition) OnSegment(ev *Event, out *Effects) Verdict {
	if !p.cut && p.trigger.onSegment(&p.m.At, ev, out) {
		p.begin(ev, out)
	}
	if !p.cut {
		return Pass
	}
	if p.m.For > 0 && ev.At-p.since >= p.m.For {
		out.Release()
		return Pass
	}
	if !p.m.Dir.Includes(ev.Dir.From()) {
		return Pass
	}
	out.Note(Dropped, ev.Dir.To(), "partitioned")
	return Drop
}

// OnWake implements Waker: the connection has reached its age.
func (p *partition) OnWake(ev *Event, out *Effects) {
	if p.trigger.onWake(&p.m.At) {
		p.begin(ev, out)
	}
}

func (p *partition) begin(ev *Event, out *Effects) {
	p.cut, p.since = true, ev.At
	out.Capture()
}

// Slice is the fault slice: what was sent in one piece arrives in many, so that
// a reader that takes one read for one message finds out.
type Slice struct {
	Size int           `knob:"size" help:"bytes of payload in each piece"`
	Gap  time.Duration `knob:"gap" help:"time between two pieces"`
	Dir  Side          `knob:"dir" help:"whose segments: those of the client, of the server, or of both"`
}

// Validate implements Model.
func (m *Slice) Validate() error {
	switch {
	case m.Size < 1 || m.Size > 65535:
		return errors.New("size lies outside of 1 to 65535")
	case m.Gap < 0 || m.Gap > time.Second:
		return errors.New("gap lies outside of 0 to 1s")
	}
	return nil
}

// Diverts implements Model.
func (m *Slice) Diverts() Diversion { return Diversion{SYN: true, All: true, Whole: true} }

// New implements Model.
func (m *Slice) New() Fault { return &slice{m: m} }

type slice struct {
	m    *Slice
	told [2]bool          // by direction
	last [2]time.Duration // when the last piece of a direction leaves
}

func (s *slice) OnSegment(ev *Event, out *Effects) Verdict {
	seg := ev.Seg
	if r, ok := out.Replaced(); ok {
		seg = r
	}
	if !s.m.Dir.Includes(ev.Dir.From()) {
		return Pass
	}
	if seg.PayloadLen() <= s.m.Size || !seg.Complete() || seg.Flags().Any(packet.SYN|packet.RST|packet.URG) {
		if seg.PayloadLen() > s.m.Size && !seg.Complete() {
			out.Cut()
		}
		out.Delay(max(0, s.last[ev.Dir]-ev.At)) // behind the pieces
		return Pass
	}
	after := max(0, s.last[ev.Dir]-ev.At)
	f, payload := packet.FieldsOf(seg), seg.Payload()
	for len(payload) > 0 {
		n := min(s.m.Size, len(payload))
		f.Flags = seg.Flags()
		if n < len(payload) {
			f.Flags &^= packet.PSH | packet.FIN
		}
		out.Piece(after, f, payload[:n])
		f.Seq, f.ID = f.Seq.Add(uint32(n)), f.ID+1
		payload = payload[n:]
		after += s.m.Gap
	}
	s.last[ev.Dir] = ev.At + after
	if !s.told[ev.Dir] {
		s.told[ev.Dir] = true
		out.Note(Rewritten, ev.Dir.To(), "arrives in pieces")
	}
	return Pass
}
