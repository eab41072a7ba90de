package capture

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/faultctl/faultctl/explain"
	"github.com/faultctl/faultctl/faults/packet"
)

const (
	protoICMP   = 1
	protoICMPv6 = 58
)

// Parser reads IP packets. The zero Parser is ready.
type Parser struct{ Skipped Skipped }

// Parse reads an IP packet: a TCP segment, or an ICMP error that quotes one. Its
// time, frame and interface are for the caller to set. It reports false for any
// other packet, and counts it.
func (r *Parser) Parse(b []byte) (explain.Packet, bool) {
	s, err := packet.Parse(b)
	switch {
	case err == nil:
		return explain.Packet{Segment: s}, true
	case errors.Is(err, packet.ErrFragment):
		r.Skipped.Fragments++
	case errors.Is(err, packet.ErrTruncated):
		const toFlags = 14 // of the TCP header
		if s, ok := extended(b, toFlags); ok {
			return explain.Packet{Segment: s, Cut: true}, true
		}
		r.Skipped.Short++
	default:
		if p, ok := quoted(b); ok {
			return p, true
		}
		r.Skipped.NotTCP++
	}
	return explain.Packet{}, false
}

// extended reads a packet of which the capture holds at least the first bytes of
// the TCP header. What is missing of the header is zero, except the window: one of
// zero would say something.
func extended(b []byte, least int) (packet.Segment, bool) {
	at := 0
	switch {
	case len(b) >= 20 && b[0]>>4 == 4 && b[9] == 6:
		at = int(b[0]&0xf) * 4
	case len(b) >= 40 && b[0]>>4 == 6 && b[6] == 6:
		at = 40
	}
	if at < 20 || len(b) < at+least {
		return packet.Segment{}, false
	}
	whole := append(slices.Clip(b), make([]byte, 60)...)
	if len(b) <= at+12 {
		whole[at+12] = 5 << 4 // the length of its header is not known
	}
	if len(b) < at+16 {
		whole[at+14], whole[at+15] = 0xff, 0xff
	}
	s, err := packet.Parse(whole)
	return s, err == nil
}

// quoted reads an ICMP error that quotes a TCP packet: destination unreachable,
// time exceeded, parameter problem. An error that only tells a smaller MTU is none.
func quoted(b []byte) (explain.Packet, bool) {
	var rest []byte
	var ttl uint8
	switch {
	case len(b) >= 20 && b[0]>>4 == 4 && b[9] == protoICMP:
		head := int(b[0]&0xf) * 4
		if head < 20 || len(b) < head+8 || b[head] == 3 && b[head+1] == 4 || b[head] != 3 && b[head] != 11 && b[head] != 12 {
			return explain.Packet{}, false
		}
		rest, ttl = b[head:], b[8]
	case len(b) >= 48 && b[0]>>4 == 6 && b[6] == protoICMPv6:
		if b[40] != 1 && b[40] != 3 && b[40] != 4 {
			return explain.Packet{}, false
		}
		rest, ttl = b[40:], b[7]
	default:
		return explain.Packet{}, false
	}
	p := explain.Packet{ICMP: binary.BigEndian.Uint16(rest), TTL: ttl}
	var err error
	if p.Segment, err = packet.Parse(rest[8:]); err == nil {
		return p, true
	}
	const toSeq = 8 // RFC 792 promises no more of what is quoted
	var ok bool
	p.Segment, ok = extended(rest[8:], toSeq)
	return p, ok
}
