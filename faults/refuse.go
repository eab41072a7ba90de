package faults

import (
	"github.com/faultctl/faultctl/faults/packet"

	"github.com/faultctl/faultctl/faults/clue"
)

var refuseKind = Kind{
	Name: "refuse", Group: "reset",
	Cause:   "Nothing listens on the port: the service is down, restarting or somewhere else.",
	Symptom: "connect fails at once with ECONNREFUSED (Java: Connection refused).",
	Remedy:  "Retry with backoff and jitter, against another address if there is one.",
	Example: "faultctl inject refuse --percent 50 --to :5432",
	Shows: []clue.Prediction{{
		Must:    clue.Of(clue.Connecting, clue.Reset, clue.RefusalRST, clue.ToSYN),
		Settles: "whether something listens there (ss -tln); if it does, a firewall refuses",
	}},
	New: func() Model { return new(Refuse) },
}

// Refuse is the fault refuse: nobody listens on the port, and the host says so
// (RFC 9293 section 3.10.7.1).
type Refuse struct {
	RTT RTT `knob:"rtt" help:"how long the answer takes; auto: at once"`
}

// Validate implements Model.
func (m *Refuse) Validate() error { return judge(m) }

// Diverts implements Model.
func (m *Refuse) Diverts() Diversion { return Diversion{SYN: true, NoCapture: true, Super: true} }

// Start implements Model.
func (m *Refuse) Start() Instance {
	m = completed(m)
	return PerFlow(func() Fault { return &refuse{m} })
}

type refuse struct{ m *Refuse }

func (r *refuse) OnSegment(ev *Event, out *Effects) Verdict {
	if f := ev.Seg.Flags(); !f.Has(packet.SYN) || f.Has(packet.ACK) {
		return Pass
	}
	return ghost{dead: Server, closed: true, rtt: r.m.RTT}.onSegment(ev, out, "nobody listens")
}

// Adjust implements Adjuster.
func (r *refuse) Adjust(fresh Fault) { r.m = fresh.(*refuse).m }

// Park implements Parker.
func (*refuse) Park() (uint64, bool) { return 0, true }

// Unpark implements Parker.
func (*refuse) Unpark(uint64) {}
