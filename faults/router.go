package faults

import (
	"time"

	"github.com/faultctl/faultctl/faults/packet"
)

// icmpCodes are the codes of destination-unreachable messages: ICMP's and
// ICMPv6's.
var icmpCodes = map[string][2]uint8{
	"net": {0, 0}, "host": {1, 3}, "port": {3, 4}, "admin": {13, 1}, "address": {1, 3},
}

// router reports that an end cannot be reached, as often as Linux does: one
// message a second to each host after a burst (icmp_ratelimit).
type router struct {
	last time.Duration
	sent int
}

const unreachableBurst = 6

// refuse sends the sender of the segment an ICMP error, unless it was just
// sent one. The router speaks with the address of the end that is gone, since its
// own is in no packet.
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
