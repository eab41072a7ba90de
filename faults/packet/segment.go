package packet

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// What Parse cannot read. Such packets are none of ours: they are let alone.
var (
	ErrNotTCP    = errors.New("not a TCP packet")
	ErrFragment  = errors.New("a fragment")
	ErrTruncated = errors.New("truncated inside its headers")
	ErrMalformed = errors.New("malformed header")
	ErrRouted    = errors.New("source-routed, on its way to another address than it names")
)

const (
	protoHopByHop = 0
	protoTCP      = 6
	protoRouting  = 43
	protoFragment = 44
	protoAH       = 51
	protoDestOpts = 60

	ipv4Header = 20
	ipv6Header = 40
	tcpHeader  = 20
)

// Segment is a view on the bytes of one IP packet that carries TCP. It is
// valid as long as those bytes are. The zero Segment is not valid.
//
// A header-only copy will do: a packet may be cut off anywhere behind its TCP
// options, and PayloadLen is then what its IP header says.
type Segment struct {
	b      []byte // the packet, without padding behind it
	tcp    uint16 // offset of the TCP header
	data   uint16 // offset of the payload
	length uint32 // of the packet, by its IP header
}

// Parse finds the headers in b. IPv6 extension headers are skipped, and an
// atomic fragment (RFC 6946) is read like a whole packet. It does not verify
// checksums, nor does it allocate. The error is one of the above.
func Parse(b []byte) (Segment, error) {
	if len(b) < 1 {
		return Segment{}, ErrTruncated
	}
	switch b[0] >> 4 {
	case 4:
		return parse4(b)
	case 6:
		return parse6(b)
	}
	return Segment{}, ErrMalformed
}

func parse4(b []byte) (Segment, error) {
	if len(b) < ipv4Header {
		return Segment{}, ErrTruncated
	}
	ihl := int(b[0]&0x0f) * 4
	length := int(binary.BigEndian.Uint16(b[2:]))
	if length == 0 { // a super-segment beyond 64 KiB (BIG TCP) has no length
		length = len(b)
	}
	switch {
	case ihl < ipv4Header || length < ihl:
		return Segment{}, ErrMalformed
	case b[9] != protoTCP:
		return Segment{}, ErrNotTCP
	case binary.BigEndian.Uint16(b[6:])&0x3fff != 0: // more fragments, or an offset
		return Segment{}, ErrFragment
	}
	return parseTCP(b, ihl, length)
}

func parse6(b []byte) (Segment, error) {
	if len(b) < ipv6Header {
		return Segment{}, ErrTruncated
	}
	length := ipv6Header + int(binary.BigEndian.Uint16(b[4:]))
	if length == ipv6Header {
		length = len(b)
	}
	next, at := b[6], ipv6Header
	for next != protoTCP {
		if len(b) < at+8 {
			return Segment{}, ErrTruncated
		}
		size := 8
		switch next {
		case protoHopByHop, protoRouting, protoDestOpts:
			size = (int(b[at+1]) + 1) * 8
			if next == protoRouting && b[at+3] != 0 {
				return Segment{}, ErrRouted // its checksum is for the last address (RFC 8200 section 8.1)
			}
		case protoAH:
			size = (int(b[at+1]) + 2) * 4
		case protoFragment:
			if binary.BigEndian.Uint16(b[at+2:])&^0x6 != 0 {
				return Segment{}, ErrFragment
			}
		default:
			return Segment{}, ErrNotTCP
		}
		next, at = b[at], at+size
	}
	return parseTCP(b, at, length)
}

func parseTCP(b []byte, at, length int) (Segment, error) {
	if length < at+tcpHeader {
		return Segment{}, ErrMalformed
	}
	if len(b) < at+tcpHeader {
		return Segment{}, ErrTruncated
	}
	data := at + int(b[at+12]>>4)*4
	if data < at+tcpHeader || data > length || data > 0xffff {
		return Segment{}, ErrMalformed
	}
	if len(b) < data {
		return Segment{}, ErrTruncated
	}
	return Segment{b: b[:min(len(b), length)], tcp: uint16(at), data: uint16(data), length: uint32(length)}, nil
}

// Version returns 4 or 6.
func (s Segment) Version() int { return int(s.b[0] >> 4) }

func (s Segment) v4() bool { return s.b[0]>>4 == 4 }

// Src returns the address of the sender.
func (s Segment) Src() netip.Addr {
	if s.v4() {
		return netip.AddrFrom4([4]byte(s.b[12:16]))
	}
	return netip.AddrFrom16([16]byte(s.b[8:24]))
}

// Dst returns the address of the receiver.
func (s Segment) Dst() netip.Addr {
	if s.v4() {
		return netip.AddrFrom4([4]byte(s.b[16:20]))
	}
	return netip.AddrFrom16([16]byte(s.b[24:40]))
}

// SrcPort returns the port of the sender.
func (s Segment) SrcPort() uint16 { return s.u16(0) }

// DstPort returns the port of the receiver.
func (s Segment) DstPort() uint16 { return s.u16(2) }

// SrcAddrPort returns address and port of the sender.
func (s Segment) SrcAddrPort() netip.AddrPort { return netip.AddrPortFrom(s.Src(), s.SrcPort()) }

// DstAddrPort returns address and port of the receiver.
func (s Segment) DstAddrPort() netip.AddrPort { return netip.AddrPortFrom(s.Dst(), s.DstPort()) }

// TTL returns the time to live, or hop limit.
func (s Segment) TTL() uint8 {
	if s.v4() {
		return s.b[8]
	}
	return s.b[7]
}

// TOS returns the type of service, or traffic class, with the ECN bits.
func (s Segment) TOS() uint8 {
	if s.v4() {
		return s.b[1]
	}
	return uint8(binary.BigEndian.Uint16(s.b) >> 4)
}

// ID returns the IPv4 identification, and 0 for IPv6.
func (s Segment) ID() uint16 {
	if !s.v4() {
		return 0
	}
	return binary.BigEndian.Uint16(s.b[4:])
}

// DF returns the don't-fragment bit of IPv4, and false for IPv6.
func (s Segment) DF() bool { return s.v4() && s.b[6]&0x40 != 0 }

// FlowLabel returns the flow label of IPv6, and 0 for IPv4.
func (s Segment) FlowLabel() uint32 {
	if s.v4() {
		return 0
	}
	return binary.BigEndian.Uint32(s.b) & 0xfffff
}

// Seq returns the sequence number of the first byte, or of the SYN.
func (s Segment) Seq() Seq { return Seq(s.u32(4)) }

// Ack returns the acknowledgment field, whether or not the flag is set.
func (s Segment) Ack() Seq { return Seq(s.u32(8)) }

// Flags returns the control bits.
func (s Segment) Flags() Flags { return Flags(s.b[s.tcp+13]) }

// Window returns the window field as it stands in the header, not scaled.
func (s Segment) Window() uint16 { return s.u16(14) }

// Checksum returns the checksum field.
func (s Segment) Checksum() uint16 { return s.u16(16) }

// Urgent returns the urgent pointer.
func (s Segment) Urgent() uint16 { return s.u16(18) }

// HeaderLen returns the length of all headers, IP and TCP with options.
func (s Segment) HeaderLen() int { return int(s.data) }

// PayloadLen returns the length of the payload by the IP header, which may be
// more than a cut-off copy holds.
func (s Segment) PayloadLen() int { return int(s.length) - int(s.data) }

// Payload returns those bytes of the payload that the copy holds.
func (s Segment) Payload() []byte { return s.b[s.data:] }

// Complete reports whether the copy holds the whole packet.
func (s Segment) Complete() bool { return len(s.b) == int(s.length) }

// Bytes returns the packet as far as the copy holds it.
func (s Segment) Bytes() []byte { return s.b }

// SeqLen returns how many sequence numbers the segment takes up: its payload,
// and one each for SYN and FIN.
func (s Segment) SeqLen() uint32 {
	n := uint32(s.PayloadLen())
	if s.Flags().Has(SYN) {
		n++
	}
	if s.Flags().Has(FIN) {
		n++
	}
	return n
}

// End returns the sequence number that follows the segment.
func (s Segment) End() Seq { return s.Seq().Add(s.SeqLen()) }

func (s Segment) u16(at uint16) uint16 { return binary.BigEndian.Uint16(s.b[s.tcp+at:]) }
func (s Segment) u32(at uint16) uint32 { return binary.BigEndian.Uint32(s.b[s.tcp+at:]) }

// The setters change the packet in place, and leave its checksums stale until
// UpdateChecksums.

// SetSeq changes the sequence number.
func (s Segment) SetSeq(v Seq) { binary.BigEndian.PutUint32(s.b[s.tcp+4:], uint32(v)) }

// SetFlags changes the control bits.
func (s Segment) SetFlags(f Flags) { s.b[s.tcp+13] = uint8(f) }

// SetWindow changes the window field.
func (s Segment) SetWindow(v uint16) { binary.BigEndian.PutUint16(s.b[s.tcp+14:], v) }

// SetChecksum changes the checksum field, to something wrong.
func (s Segment) SetChecksum(v uint16) { binary.BigEndian.PutUint16(s.b[s.tcp+16:], v) }

// CutPayload takes the payload off: it corrects the IP length and returns the
// shorter view.
func (s Segment) CutPayload() Segment { return s.resize(int(s.data)) }

// Truncate keeps the first n bytes of the payload, which must be there, and
// makes the checksums anew.
func (s Segment) Truncate(n int) Segment {
	s = s.resize(int(s.data) + n)
	s.UpdateChecksums()
	return s
}

// resize makes the packet n bytes long.
func (s Segment) resize(n int) Segment {
	s.b, s.length = s.b[:n], uint32(n)
	if s.v4() {
		binary.BigEndian.PutUint16(s.b[2:], uint16(n))
	} else {
		binary.BigEndian.PutUint16(s.b[4:], uint16(n-ipv6Header))
	}
	return s
}
