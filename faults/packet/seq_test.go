package packet

import "testing"

// TestSeqWraps holds the arithmetic round 2^32.
func TestSeqWraps(t *testing.T) {
	for _, c := range []struct {
		a, b     Seq
		distance int32 // from a to b
	}{
		{0, 0, 0}, {0, 1, 1}, {1, 0, -1},
		{0xffffffff, 0, 1}, {0, 0xffffffff, -1}, {0xfffffff0, 0x10, 0x20},
		{0, 0x7fffffff, 0x7fffffff}, {0x7fffffff, 0xffffffff, -0x80000000},
	} {
		if got := c.b.Sub(c.a); got != c.distance {
			t.Errorf("%#x - %#x = %d, want %d", c.b, c.a, got, c.distance)
		}
		if c.distance > 0 && (!c.a.Less(c.b) || !c.a.LessEq(c.b) || c.b.Less(c.a) || Max(c.a, c.b) != c.b || Max(c.b, c.a) != c.b) {
			t.Errorf("%#x does not come before %#x", c.a, c.b)
		}
		if c.distance >= 0 && c.a.Add(uint32(c.distance)) != c.b {
			t.Errorf("%#x + %d = %#x, want %#x", c.a, c.distance, c.a.Add(uint32(c.distance)), c.b)
		}
	}
	if s := Seq(5); s.Less(s) || !s.LessEq(s) || Max(s, s) != s {
		t.Error("a number is not its own equal")
	}
}

// TestInWindow holds both edges of a window, round 2^32 too.
func TestInWindow(t *testing.T) {
	for _, c := range []struct {
		s, first Seq
		size     uint32
		want     bool
	}{
		{10, 10, 1, true}, {10, 10, 0, false}, {9, 10, 5, false}, {14, 10, 5, true}, {15, 10, 5, false},
		{0xffffffff, 0xfffffffe, 4, true}, {1, 0xfffffffe, 4, true}, {2, 0xfffffffe, 4, false},
		{0x80000000, 0, 0xffffffff, true},
	} {
		if got := c.s.InWindow(c.first, c.size); got != c.want {
			t.Errorf("%#x in %d from %#x: %v", c.s, c.size, c.first, got)
		}
	}
}

// TestFlags holds tcpdump's letters, both ways.
func TestFlags(t *testing.T) {
	for f, text := range map[Flags]string{
		0: "none", SYN: "S", SYN | ACK: "S.", FIN | PSH | ACK: "FP.", RST: "R", RST | ACK: "R.",
		FIN | SYN | RST | PSH | ACK | URG | ECE | CWR: "FSRP.UEW",
	} {
		if f.String() != text {
			t.Errorf("%#x is written %q, want %q", uint8(f), f, text)
		}
		if got, err := ParseFlags(text); err != nil || got != f {
			t.Errorf("%q is read as %v, %v", text, got, err)
		}
	}
	if _, err := ParseFlags("SX"); err == nil {
		t.Error("X was read as a flag")
	}
	if f := SYN | ACK; !f.Has(SYN) || f.Has(SYN|RST) || !f.Any(SYN|RST) || f.Any(RST|FIN) {
		t.Error("Has means all, Any means one")
	}
}
