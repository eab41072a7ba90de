package faults

import (
	"net/netip"
	"time"

	"github.com/faultctl/faultctl/faults/packet"
)

// router says host unreachable for an end that is gone, as often as Linux
// does: one message a second to each host after a burst (icmp_ratelimit).
type router struct {
	last time.Duration
	sent int
	buf  []byte
}

const (
	hostUnreachable4 = 1 // ICMP destination unreachable: host
	hostUnreachable6 = 3 // ICMPv6 destination unreachable: address

	unreachableBurst = 6
)

// refuse sends the sender of the segment an ICMP error, unless it just had
// one. The router speaks with the address of the end that is gone: its own is
// nowhere in the packet.
func (r *router) refuse(ev *Event, out *Effects) {
	if ev.Seg.Flags().Has(packet.RST) || r.sent >= unreachableBurst && ev.At-r.last < time.Second {
		return
	}
	r.sent++
	r.last = ev.At
	code := uint8(hostUnreachable4)
	if ev.Seg.Version() == 6 {
		code = hostUnreachable6
	}
	r.buf = packet.AppendUnreachable(r.buf[:0], ev.Seg.Dst(), code, uint16(ev.Rand.Uint32())|1, ev.Seg)
	out.Inject(0, packet.Fields{Src: netip.AddrPortFrom(ev.Seg.Dst(), 0), Dst: ev.Seg.SrcAddrPort()}, r.buf)
	out.Note(SentICMP, ev.Dir.From(), "host unreachable")
}
