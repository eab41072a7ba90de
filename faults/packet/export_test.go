package packet

import "encoding/binary"

// What only tests ask of a segment, or do to one.

// SetAck changes the acknowledgment field, not the flag.
func (s Segment) SetAck(v Seq) { binary.BigEndian.PutUint32(s.b[s.tcp+8:], uint32(v)) }

// SetTTL changes the time to live, or hop limit.
func (s Segment) SetTTL(v uint8) {
	if s.v4() {
		s.b[8] = v
	} else {
		s.b[7] = v
	}
}

// SetTOS changes the type of service, or traffic class.
func (s Segment) SetTOS(v uint8) {
	if s.v4() {
		s.b[1] = v
		return
	}
	binary.BigEndian.PutUint16(s.b, binary.BigEndian.Uint16(s.b)&0xf00f|uint16(v)<<4)
}

// MSS returns the maximum segment size of a SYN.
func (s Segment) MSS() (uint16, bool) {
	b, ok := option(s.Options(), optMSS)
	if !ok || len(b) != 2 {
		return 0, false
	}
	return binary.BigEndian.Uint16(b), true
}

// SACKPermitted reports whether a SYN offers selective acknowledgments.
func (s Segment) SACKPermitted() bool {
	_, ok := option(s.Options(), optSACKPermitted)
	return ok
}

// InWindow reports whether s is one of the size numbers from first on.
func (s Seq) InWindow(first Seq, size uint32) bool { return uint32(s-first) < size }
