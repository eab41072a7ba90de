package faults

import (
	"time"

	"github.com/faultctl/faultctl/faults/packet"
)

var sliceKind = Kind{
	Name: "slice", Group: "link",
	Cause:   "Data sent in one piece arrives in many: small MTUs, middleboxes, a sender under pressure.",
	Symptom: "recv returns less than a message. A reader that takes one read for one message breaks.",
	Remedy:  "Read until the message is complete: TCP carries bytes, not messages.",
	Example: "faultctl inject slice --size 1 --to :8080",
	Demo:    Demo{Settings: "size=3,gap=20ms"},
	New:     func() Model { return new(Slice) },
}

// Slice is the fault slice: data sent in one piece arrives in many, which exposes
// a reader that takes one read for one message.
type Slice struct {
	Size Bytes         `knob:"size" default:"1" help:"bytes of payload in each piece"`
	Gap  time.Duration `knob:"gap" help:"time between two pieces"`
	Dir  Side          `knob:"dir" help:"whose segments: the client's, the server's, or both"`
}

// Validate implements Model.
func (m *Slice) Validate() error {
	if err := judge(m); err != nil {
		return err
	}
	switch {
	case m.Size > 65535:
		return wrong(m, "size", "it lies outside of 1 to 65535")
	case m.Gap > time.Second:
		return wrong(m, "gap", "it lies outside of 0 to 1s")
	}
	return nil
}

// Diverts implements Model.
func (m *Slice) Diverts() Diversion { return Diversion{SYN: true, All: true, Whole: true} }

// Start implements Model.
func (m *Slice) Start() Instance {
	m = completed(m)
	return PerFlow(func() Fault { return &slice{m: m} })
}

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
	if seg.PayloadLen() <= int(s.m.Size) || !seg.Complete() || seg.Flags().Any(packet.SYN|packet.RST|packet.URG) {
		if seg.PayloadLen() > int(s.m.Size) && !seg.Complete() {
			out.Cut()
		}
		out.Delay(max(0, s.last[ev.Dir]-ev.At)) // behind the pieces
		return Pass
	}
	after := max(0, s.last[ev.Dir]-ev.At)
	f, payload := packet.FieldsOf(seg), seg.Payload()
	for len(payload) > 0 {
		n := min(int(s.m.Size), len(payload))
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

// Adjust implements Adjuster.
func (s *slice) Adjust(fresh Fault) { s.m = fresh.(*slice).m }
