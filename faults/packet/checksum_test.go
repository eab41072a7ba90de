package packet

import (
	"math/rand/v2"
	"testing"
)

// rfc1071 is the checksum as RFC 1071 section 4.1 writes it, two bytes at a time.
func rfc1071(b []byte) uint16 {
	var acc uint32
	for i := 0; i < len(b); i += 2 {
		acc += uint32(b[i]) << 8
		if i+1 < len(b) {
			acc += uint32(b[i+1])
		}
		acc = acc&0xffff + acc>>16
	}
	return ^uint16(acc)
}

// TestSum holds the fast sum to the slow one, for every length of the tail and
// the values that carry most.
func TestSum(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for size := range 200 {
		for kind := range 3 {
			b := make([]byte, size)
			for i := range b {
				b[i] = [...]byte{byte(rng.Uint32()), 0xff, 0}[kind]
			}
			if got, want := fold(sum(b, 0)), rfc1071(b); got != want {
				t.Fatalf("% x: %#x, want %#x", b, got, want)
			}
		}
	}
}
