package packet

import (
	"encoding/binary"
	"math/bits"
)

// sum adds b to a one's complement sum of 64 bits (RFC 1071 section 2): the
// width does not matter until the end, so it takes eight bytes at a time.
func sum(b []byte, acc uint64) uint64 {
	var carry uint64
	for len(b) >= 32 { // the loop would cost as much as the sum
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b), carry)
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b[8:]), carry)
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b[16:]), carry)
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b[24:]), carry)
		b = b[32:]
	}
	for len(b) >= 8 {
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b), carry)
		b = b[8:]
	}
	var rest [8]byte
	if len(b) > 0 {
		copy(rest[:], b)
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(rest[:]), carry)
	}
	acc, carry = bits.Add64(acc, 0, carry)
	return acc + carry
}

// fold makes the 16-bit checksum of a sum.
func fold(acc uint64) uint16 {
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>16 + acc&0xffff
	acc = acc>>16 + acc&0xffff
	acc = acc>>16 + acc&0xffff
	return ^uint16(acc)
}

// pseudo is the sum of the pseudo-header (RFC 9293 section 3.1).
func (s Segment) pseudo() uint64 {
	acc := uint64(protoTCP) + uint64(len(s.b)-int(s.tcp))
	if s.v4() {
		return sum(s.b[12:20], acc)
	}
	return sum(s.b[8:40], acc)
}

// UpdateChecksums writes the IPv4 header checksum and the full TCP checksum.
// The packet must be complete.
func (s Segment) UpdateChecksums() {
	if s.v4() {
		head := s.b[:int(s.b[0]&0x0f)*4]
		binary.BigEndian.PutUint16(head[10:], 0)
		binary.BigEndian.PutUint16(head[10:], fold(sum(head, 0)))
	}
	tcp := s.b[s.tcp:]
	binary.BigEndian.PutUint16(tcp[16:], 0)
	binary.BigEndian.PutUint16(tcp[16:], fold(sum(tcp, s.pseudo())))
}

// ChecksumOK reports whether the checksums of a complete packet are right.
func (s Segment) ChecksumOK() bool {
	if s.v4() && fold(sum(s.b[:int(s.b[0]&0x0f)*4], 0)) != 0 {
		return false
	}
	return fold(sum(s.b[s.tcp:], s.pseudo())) == 0
}
