package packet

import "testing"

// optioned is a segment with those TCP options.
func optioned(t *testing.T, flags Flags, options ...byte) Segment {
	t.Helper()
	f := fields(false)
	f.Flags, f.OptionsLen = flags, copy(f.Options[:], options)
	return build(t, f, "x")
}

// TestOptions holds what is read of the options of real SYNs and data.
func TestOptions(t *testing.T) {
	// Linux: MSS 1460, SACK permitted, TS 1/2, NOP, window scale 7.
	s := optioned(t, SYN, 2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 3, 3, 7)
	mss, ok1 := s.MSS()
	scale, ok2 := s.WindowScale()
	val, ecr, ok3 := s.Timestamps()
	if mss != 1460 || scale != 7 || val != 1 || ecr != 2 || !s.SACKPermitted() || !ok1 || !ok2 || !ok3 {
		t.Errorf("mss %d %v, scale %d %v, timestamps %d/%d %v, sack %v", mss, ok1, scale, ok2, val, ecr, ok3, s.SACKPermitted())
	}
	if _, ok := s.SACK(); ok {
		t.Error("blocks where there are none")
	}
	// Three blocks, the newest first; the right-most edge lies beyond 2^32.
	s = optioned(t, ACK, 1, 1, 5, 26,
		0xff, 0xff, 0xff, 0xf0, 0xff, 0xff, 0xff, 0xf8,
		0, 0, 0, 1, 0, 0, 0, 9,
		0xff, 0xff, 0xff, 0xc0, 0xff, 0xff, 0xff, 0xd0)
	if right, ok := s.SACK(); !ok || right != 9 {
		t.Errorf("right-most edge %#x %v, want 9", right, ok)
	}
}

// TestOptionsBroken holds that a malformed list ends where it breaks.
func TestOptionsBroken(t *testing.T) {
	for name, o := range map[string][]byte{
		"none":                  nil,
		"behind the end":        {0, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2},
		"length 0":              {30, 0, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2},
		"length 1":              {30, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2},
		"longer than the list":  {30, 99, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2},
		"a kind and no more":    {1, 1, 1, 8},
		"timestamps of 8 bytes": {8, 8, 0, 0, 0, 1, 0, 0},
		"timestamps cut":        {1, 1, 8, 10, 0, 0, 0, 1},
	} {
		if val, ecr, ok := optioned(t, ACK, o...).Timestamps(); ok {
			t.Errorf("%s: timestamps %d/%d", name, val, ecr)
		}
	}
	s := optioned(t, SYN, 2, 3, 5, 3, 2, 7, 5, 6, 1, 1, 1)
	if _, ok := s.MSS(); ok {
		t.Error("an MSS of one byte")
	}
	if _, ok := s.WindowScale(); ok {
		t.Error("a window scale of no byte")
	}
	if _, ok := s.SACK(); ok {
		t.Error("blocks of four bytes")
	}
}
