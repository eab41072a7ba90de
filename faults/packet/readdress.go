package packet

import (
	"encoding/binary"
	"net/netip"
)

// SetEnds gives the packet other ends, of its own family. Its checksums follow the
// change (RFC 1624): what was right is right, and what was wrong stays wrong.
func (s Segment) SetEnds(src, dst netip.AddrPort) {
	at, size := 12, 4
	if !s.v4() {
		at, size = 8, 16
	}
	var was, is [36]byte
	n := 2*size + 4
	copy(was[:], s.b[at:at+2*size])
	copy(was[2*size:], s.b[s.tcp:s.tcp+4])
	putAddr(is[:size], src.Addr())
	putAddr(is[size:2*size], dst.Addr())
	binary.BigEndian.PutUint16(is[2*size:], src.Port())
	binary.BigEndian.PutUint16(is[2*size+2:], dst.Port())
	copy(s.b[at:], is[:2*size])
	copy(s.b[s.tcp:], is[2*size:n])
	if s.v4() {
		follow(s.b[10:], was[:8], is[:8])
	}
	if len(s.b) >= int(s.tcp)+18 {
		follow(s.b[s.tcp+16:], was[:n], is[:n])
	}
}

// follow corrects a checksum by what has changed beneath it.
func follow(checksum, was, is []byte) {
	acc := uint64(^binary.BigEndian.Uint16(checksum))
	for i := 0; i < len(was); i += 2 {
		acc += uint64(^binary.BigEndian.Uint16(was[i:])) + uint64(binary.BigEndian.Uint16(is[i:]))
	}
	binary.BigEndian.PutUint16(checksum, fold(acc))
}

func putAddr(b []byte, a netip.Addr) {
	if len(b) < 16 {
		v4 := a.As4()
		copy(b, v4[:])
		return
	}
	v6 := a.As16()
	copy(b, v6[:])
}

// RenameQuoted has a message that [AppendUnreachable] made quote a packet to another
// end, and come from that end's address. It does nothing to other packets.
func RenameQuoted(pkt []byte, to netip.AddrPort) {
	head := ipv4Header
	if len(pkt) == 0 {
		return
	}
	if pkt[0]>>4 == 6 {
		head = ipv6Header
	}
	if len(pkt) < head+icmpHeader || to.Addr().Is4() != (head == ipv4Header) {
		return
	}
	if head == ipv4Header && pkt[9] != protoICMP || head == ipv6Header && pkt[6] != protoICMPv6 {
		return
	}
	icmp := pkt[head:]
	quoted, err := Parse(icmp[icmpHeader:])
	if err != nil {
		return
	}
	quoted.SetEnds(quoted.SrcAddrPort(), to)
	acc := uint64(0)
	if head == ipv4Header {
		putAddr(pkt[12:16], to.Addr())
		binary.BigEndian.PutUint16(pkt[10:], 0)
		binary.BigEndian.PutUint16(pkt[10:], fold(sum(pkt[:head], 0)))
	} else {
		putAddr(pkt[8:24], to.Addr())
		acc = sum(pkt[8:head], uint64(protoICMPv6)+uint64(len(icmp)))
	}
	binary.BigEndian.PutUint16(icmp[2:], 0)
	binary.BigEndian.PutUint16(icmp[2:], fold(sum(icmp, acc)))
}
