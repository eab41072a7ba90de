package faults

import "github.com/faultctl/faultctl/faults/packet"

// Refuse is the fault refuse: nobody listens on the port, and the host says so
// (RFC 9293 section 3.10.7.1).
type Refuse struct {
	RTT RTT `knob:"rtt" help:"how long the answer takes; auto: at once"`
}

// Validate implements Model.
func (m *Refuse) Validate() error { return nil }

// Diverts implements Model.
func (m *Refuse) Diverts() Diversion { return Diversion{SYN: true, NoCapture: true, Super: true} }

// New implements Model.
func (m *Refuse) New() Fault { return refuse{m} }

type refuse struct{ m *Refuse }

func (r refuse) OnSegment(ev *Event, out *Effects) Verdict {
	if f := ev.Seg.Flags(); !f.Has(packet.SYN) || f.Has(packet.ACK) {
		return Pass
	}
	return ghost{dead: Server, rtt: r.m.RTT}.onSegment(ev, out, "nobody listens")
}
