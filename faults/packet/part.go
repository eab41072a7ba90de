package packet

import "encoding/binary"

// AppendPart appends to dst one of the segments that s, a packet that stands for
// several (GSO), is cut into: that with size bytes of the payload from the given
// one on, a multiple of size; the last has what is left. It is the packet that the
// kernel makes of it (tcp_gso_segment, inet_gso_segment): identifications count
// up, FIN and PSH are the last one's, CWR is the first one's, and all checksums are
// made. s must be complete.
func (s Segment) AppendPart(dst []byte, from, size int) []byte {
	payload := s.Payload()
	to := min(from+size, len(payload))
	start := len(dst)
	dst = append(append(dst, s.b[:s.data]...), payload[from:to]...)
	p := Segment{b: dst[start:], tcp: s.tcp, data: s.data}
	p = p.resize(len(p.b))
	if p.v4() {
		binary.BigEndian.PutUint16(p.b[4:], s.ID()+uint16(from/size))
	}
	flags := s.Flags()
	if to < len(payload) {
		flags &^= FIN | PSH
	}
	if from > 0 {
		flags &^= CWR
	}
	p.SetSeq(s.Seq().Add(uint32(from)))
	p.SetFlags(flags)
	p.UpdateChecksums()
	return dst
}
