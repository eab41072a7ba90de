package packet

// Seq is a sequence number. It wraps at 2^32, so it is compared by distance
// (RFC 9293 section 3.4) and never with <.
type Seq uint32

// Add returns the number n further on.
func (s Seq) Add(n uint32) Seq { return s + Seq(n) }

// Sub returns how far s lies beyond o: negative if it lies before.
func (s Seq) Sub(o Seq) int32 { return int32(s - o) }

// Less reports whether s lies before o.
func (s Seq) Less(o Seq) bool { return s.Sub(o) < 0 }

// LessEq reports whether s lies before o or is o.
func (s Seq) LessEq(o Seq) bool { return s.Sub(o) <= 0 }

// Max returns the later of two numbers.
func Max(a, b Seq) Seq {
	if a.Less(b) {
		return b
	}
	return a
}
