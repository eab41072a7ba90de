package faults

import (
	"github.com/faultctl/faultctl/faults/clue"
	"github.com/faultctl/faultctl/faults/packet"
)

var unreachableKind = Kind{
	Name: "unreachable", Group: "reset",
	Cause:   "A router reports that the host, the network or the port is unreachable, or that access is prohibited.",
	Symptom: "connect fails with EHOSTUNREACH, ENETUNREACH, ECONNREFUSED or, on IPv6 when access is prohibited, EACCES (Java: No route to host). An established connection keeps retransmitting and reports the error in place of ETIMEDOUT.",
	Remedy:  "Treat it as a failed attempt, not as final: routes come back. Try the next address.",
	Example: "faultctl inject unreachable --code host --to 10.0.0.5:443",
	Shows: []clue.Prediction{{
		Must:    clue.Of(clue.Connecting, clue.Unreachable),
		Settles: "the router that sent the error",
	}, {
		Must:    clue.Of(clue.Open, clue.Unreachable),
		Repeat:  "established=true",
		Settles: "the router that sent the error",
	}},
	New: func() Model { return new(Unreachable) },
}

// Unreachable is the fault unreachable: a router says that the service cannot
// be reached. It ends a connect at once; on an established connection it is a
// soft error that only chooses the errno of a later timeout (RFC 1122 section
// 4.2.3.9, tcp_v4_err).
type Unreachable struct {
	Code        string `knob:"code" default:"host" oneof:"host|net|port|admin|address" help:"what the router reports; connect fails with EHOSTUNREACH, ENETUNREACH, ECONNREFUSED, EHOSTUNREACH (IPv6: EACCES), EHOSTUNREACH respectively"`
	Established bool   `knob:"established" help:"answer every segment of the client, not only SYNs"`
}

// Validate implements Model.
func (m *Unreachable) Validate() error { return judge(m) }

// Diverts implements Model.
func (m *Unreachable) Diverts() Diversion {
	return Diversion{SYN: true, All: m.Established, Whole: true, NoCapture: true} // the ICMP error quotes the segment
}

// Start implements Model.
func (m *Unreachable) Start() Instance {
	m = completed(m)
	return PerFlow(func() Fault { return &unreachable{m: m} })
}

type unreachable struct {
	m      *Unreachable
	router router
}

// onPath implements pathFault.
func (*unreachable) onPath() {}

func (u *unreachable) OnSegment(ev *Event, out *Effects) Verdict {
	syn := ev.Seg.Flags().Has(packet.SYN) && !ev.Seg.Flags().Has(packet.ACK)
	if ev.Dir == Reply || !syn && !u.m.Established {
		return Pass
	}
	u.router.refuse(ev, out, u.m.Code)
	return Drop
}

// Adjust implements Adjuster.
func (u *unreachable) Adjust(fresh Fault) { u.m = fresh.(*unreachable).m }
