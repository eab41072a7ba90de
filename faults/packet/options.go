package packet

import "encoding/binary"

// The kinds of TCP options that matter here (RFC 9293 section 3.1, RFC 2018,
// RFC 7323).
const (
	optEnd           = 0
	optNop           = 1
	optMSS           = 2
	optWindowScale   = 3
	optSACKPermitted = 4
	optSACK          = 5
	optTimestamps    = 8
	optMD5           = 19 // RFC 2385
	optAO            = 29 // RFC 5925
)

// Options returns the bytes of the TCP options, padding included.
func (s Segment) Options() []byte { return s.b[s.tcp+tcpHeader : s.data] }

// option returns the body of the first option of that kind. A malformed list
// ends where it breaks, as in the kernel's tcp_parse_options.
func option(opts []byte, kind byte) ([]byte, bool) {
	for len(opts) > 0 {
		switch opts[0] {
		case optEnd:
			return nil, false
		case optNop:
			opts = opts[1:]
			continue
		}
		if len(opts) < 2 || opts[1] < 2 || int(opts[1]) > len(opts) {
			return nil, false
		}
		if opts[0] == kind {
			return opts[2:opts[1]], true
		}
		opts = opts[opts[1]:]
	}
	return nil, false
}

// Signed reports whether the segment is signed by TCP-MD5 or TCP-AO: its receiver
// takes no other from this connection.
func (s Segment) Signed() bool {
	opts := s.Options()
	if len(opts) < 16 { // of either a signature takes up as much
		return false
	}
	_, md5 := option(opts, optMD5)
	_, ao := option(opts, optAO)
	return md5 || ao
}

// Timestamps returns TSval and TSecr (RFC 7323 section 3), if present.
func (s Segment) Timestamps() (val, ecr uint32, ok bool) { return timestamps(s.Options()) }

func timestamps(opts []byte) (val, ecr uint32, ok bool) {
	b, ok := option(opts, optTimestamps)
	if !ok || len(b) != 8 {
		return 0, 0, false
	}
	return binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]), true
}

// WindowScale returns the shift count of a SYN (RFC 7323 section 2).
func (s Segment) WindowScale() (uint8, bool) {
	b, ok := option(s.Options(), optWindowScale)
	if !ok || len(b) != 1 {
		return 0, false
	}
	return b[0], true
}

// SACK returns the right-most edge of the selective acknowledgments.
func (s Segment) SACK() (right Seq, ok bool) {
	b, ok := option(s.Options(), optSACK)
	if !ok || len(b) < 8 {
		return 0, false
	}
	right = Seq(binary.BigEndian.Uint32(b[4:]))
	for b = b[8:]; len(b) >= 8; b = b[8:] {
		right = Max(right, Seq(binary.BigEndian.Uint32(b[4:])))
	}
	return right, true
}
