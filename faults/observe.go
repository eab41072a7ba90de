package faults

import "github.com/faultctl/faultctl/faults/packet"

// Observe is no fault: it harms nothing and says how each connection ended. It
// is the control lane of a comparison.
type Observe struct{}

// Validate implements Model.
func (m *Observe) Validate() error { return nil }

// Diverts implements Model.
func (m *Observe) Diverts() Diversion { return Diversion{SYN: true, FIN: true, RST: true, Super: true} }

// New implements Model.
func (m *Observe) New() Fault { return observe{} }

type observe struct{}

func (observe) OnSegment(ev *Event, out *Effects) Verdict {
	flags := ev.Seg.Flags()
	switch {
	case flags.Has(packet.RST | packet.ACK):
		if ev.Seg.Seq() == 0 && ev.Seg.Window() == 0 {
			out.Note(SentRST, ev.Dir.To(), "RST+ACK with sequence number 0: the port is closed")
		} else {
			out.Note(SentRST, ev.Dir.To(), "RST+ACK that continues its stream: the sender aborted")
		}
	case flags.Has(packet.RST):
		out.Note(SentRST, ev.Dir.To(), "RST without ACK: the sender does not know the connection")
	case flags.Has(packet.FIN):
		out.Note(SentFIN, ev.Dir.To(), "FIN: the sender has closed")
	}
	return Pass
}
