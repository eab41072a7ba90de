package faults

import (
	"time"

	"github.com/faultctl/faultctl/faults/packet"
)

// Unreachable is the fault unreachable: a router says that the service cannot
// be reached. It ends a connect at once; on an established connection it is a
// soft error that only chooses the errno of a later timeout (RFC 1122 section
// 4.2.3.9, tcp_v4_err).
type Unreachable struct {
	Code        string `knob:"code" oneof:"host|net|port|admin|address" help:"what the router says; connect fails with EHOSTUNREACH, ENETUNREACH, ECONNREFUSED, EHOSTUNREACH (IPv6: EACCES), EHOSTUNREACH"`
	Established bool   `knob:"established" help:"for every segment of the client, not only for SYNs"`
}

// Validate implements Model.
func (m *Unreachable) Validate() error { return nil }

// Diverts implements Model.
func (m *Unreachable) Diverts() Diversion {
	return Diversion{SYN: true, All: m.Established, Whole: true, NoCapture: true} // the ICMP error quotes the segment
}

// New implements Model.
func (m *Unreachable) New() Fault { return &unreachable{m: m} }

type unreachable struct {
	m      *Unreachable
	router router
}

func (u *unreachable) OnSegment(ev *Event, out *Effects) Verdict {
	syn := ev.Seg.Flags().Has(packet.SYN) && !ev.Seg.Flags().Has(packet.ACK)
	if ev.Dir == Reply || !syn && !u.m.Established {
		return Pass
	}
	u.router.refuse(ev, out, u.m.Code)
	return Drop
}

// icmpCodes are the codes of destination-unreachable messages: ICMP's and
// ICMPv6's.
var icmpCodes = map[string][2]uint8{
	"net": {0, 0}, "host": {1, 3}, "port": {3, 4}, "admin": {13, 1}, "address": {1, 3},
}

// router says that an end cannot be reached, as often as Linux does: one
// message a second to each host after a burst (icmp_ratelimit).
type router struct {
	last time.Duration
	sent int
}

const unreachableBurst = 6

// refuse sends the sender of the segment an ICMP error, unless it just had
// one. The router speaks with the address of the end that is gone: its own is
// nowhere in the packet.
func (r *router) refuse(ev *Event, out *Effects, code string) {
	if ev.Seg.Flags().Has(packet.RST) || r.sent >= unreachableBurst && ev.At-r.last < time.Second {
		return
	}
	r.sent++
	r.last = ev.At
	number := icmpCodes[code][0]
	if ev.Seg.Version() == 6 {
		number = icmpCodes[code][1]
	}
	out.Unreachable(ev.Seg, number, uint16(ev.Rand.Uint32())|1)
	out.Note(SentICMP, ev.Dir.From(), "unreachable")
}
