package packet

import (
	"encoding/binary"
	"net/netip"
)

const (
	protoICMP   = 1
	protoICMPv6 = 58

	// A destination-unreachable message quotes the packet it is about, up to
	// these totals (RFC 1812 section 4.3.2.3, RFC 4443 section 2.4).
	icmpTotal4 = 576
	icmpTotal6 = 1280

	icmpUnreachable4 = 3
	icmpUnreachable6 = 1
	icmpHeader       = 8
)

// AppendUnreachable appends the destination-unreachable message that a Linux
// router at the given address sends to the sender of s: its ToS is
// internetwork control (0xc0) on top of that of s for IPv4 and 0 for IPv6, its
// identification the one given, DF clear (icmp_send, icmp6_send). router must
// be of the family of s. code is ICMP's own: 1 host, 3 port for IPv4; 0 no
// route, 3 address, 4 port for IPv6.
func AppendUnreachable(dst []byte, router netip.Addr, code uint8, id uint16, s Segment) []byte {
	if s.v4() {
		return appendUnreachable4(dst, router.As4(), code, id, s)
	}
	return appendUnreachable6(dst, router.As16(), code, s)
}

func appendUnreachable4(dst []byte, router [4]byte, code uint8, id uint16, s Segment) []byte {
	start := len(dst)
	quote := s.b[:min(len(s.b), icmpTotal4-ipv4Header-icmpHeader)]
	head := [ipv4Header + icmpHeader]byte{
		0x45, 0xc0 | s.TOS()&0x1e, 8: defaultTTL, 9: protoICMP,
		ipv4Header: icmpUnreachable4, ipv4Header + 1: code,
	}
	binary.BigEndian.PutUint16(head[2:], uint16(len(head)+len(quote)))
	binary.BigEndian.PutUint16(head[4:], id)
	copy(head[12:], router[:])
	copy(head[16:], s.b[12:16])
	binary.BigEndian.PutUint16(head[10:], fold(sum(head[:ipv4Header], 0)))
	dst = append(append(dst, head[:]...), quote...)
	icmp := dst[start+ipv4Header:]
	binary.BigEndian.PutUint16(icmp[2:], fold(sum(icmp, 0)))
	return dst
}

func appendUnreachable6(dst []byte, router [16]byte, code uint8, s Segment) []byte {
	start := len(dst)
	quote := s.b[:min(len(s.b), icmpTotal6-ipv6Header-icmpHeader)]
	var head [ipv6Header + icmpHeader]byte
	binary.BigEndian.PutUint32(head[:], 6<<28|answerLabel(s))
	binary.BigEndian.PutUint16(head[4:], uint16(icmpHeader+len(quote)))
	head[6], head[7] = protoICMPv6, defaultTTL
	copy(head[8:], router[:])
	copy(head[24:], s.b[8:24])
	head[ipv6Header], head[ipv6Header+1] = icmpUnreachable6, code
	dst = append(append(dst, head[:]...), quote...)
	icmp := dst[start+ipv6Header:]
	acc := sum(dst[start+8:start+ipv6Header], uint64(protoICMPv6)+uint64(len(icmp)))
	binary.BigEndian.PutUint16(icmp[2:], fold(sum(icmp, acc)))
	return dst
}
