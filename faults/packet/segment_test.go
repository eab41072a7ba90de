package packet

import (
	"encoding/binary"
	"errors"
	"testing"
)

// TestParseFinds holds where the TCP header is found, whatever stands before it
// or behind the packet.
func TestParseFinds(t *testing.T) {
	options := []byte{1, 1, 1, 1, 7, 4, 4, 0} // NOPs and an empty record route
	hop := []byte{protoTCP, 0, 5, 2, 0, 0, 1, 0}
	hopThen := func(next byte) []byte { return edit(hop, func(b []byte) { b[0] = next }) }
	long := edit(make([]byte, 24), func(b []byte) { b[0], b[1] = protoTCP, 2 })
	auth := edit(make([]byte, 24), func(b []byte) { b[0], b[1] = protoTCP, 4 }) // counts words less two
	atomic := []byte{protoTCP, 0, 0, 0, 1, 2, 3, 4}
	for name, c := range map[string]struct {
		b       []byte
		headers int
	}{
		"IPv4":                       {raw(false), 40},
		"IPv4 with options":          {withOptions(raw(false), options...), 48},
		"IPv4 padded by Ethernet":    {append(raw(false), 0, 0, 0, 0), 40},
		"IPv4 reserved bit":          {edit(raw(false), func(b []byte) { b[6] |= 0x80 }), 40},
		"IPv4 super-segment":         {edit(raw(false), func(b []byte) { b[2], b[3] = 0, 0 }), 40},
		"IPv6":                       {raw(true), 60},
		"IPv6 padded":                {append(raw(true), 0, 0), 60},
		"IPv6 super-segment":         {edit(raw(true), func(b []byte) { b[4], b[5] = 0, 0 }), 60},
		"hop-by-hop":                 {withExtensions(raw(true), protoHopByHop, hop), 68},
		"routing, 24 bytes":          {withExtensions(raw(true), protoRouting, long), 84},
		"destination options twice":  {withExtensions(raw(true), protoDestOpts, hopThen(protoDestOpts), hop), 76},
		"authentication":             {withExtensions(raw(true), protoAH, auth), 84},
		"atomic fragment":            {withExtensions(raw(true), protoFragment, atomic), 68},
		"all kinds, one after other": {withExtensions(raw(true), protoHopByHop, hopThen(protoRouting), edit(make([]byte, 8), func(b []byte) { b[0] = protoFragment }), edit(atomic, func(b []byte) { b[0] = protoAH }), auth), 108},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Parse(c.b)
			if err != nil {
				t.Fatal(err)
			}
			if s.HeaderLen() != c.headers || s.PayloadLen() != 5 || string(s.Payload()) != "hello" || !s.Complete() {
				t.Errorf("headers of %d bytes, payload %q of %d, complete %v; want %d, hello", s.HeaderLen(), s.Payload(), s.PayloadLen(), s.Complete(), c.headers)
			}
			if s.SrcPort() != 43210 || s.DstPort() != 5432 || s.Seq() != 0xfffffff0 || s.End() != 0xfffffff5 || s.Flags() != PSH|ACK {
				t.Errorf("read %v > %v %v seq %d to %d", s.SrcAddrPort(), s.DstAddrPort(), s.Flags(), s.Seq(), s.End())
			}
			s.UpdateChecksums()
			if !s.ChecksumOK() {
				t.Error("its own checksums do not hold")
			}
		})
	}
}

// TestParseRefuses holds that what is no whole segment is said to be none, and why.
func TestParseRefuses(t *testing.T) {
	four, six := raw(false), raw(true)
	fragment := func(offset uint16) []byte {
		h := []byte{protoTCP, 0, 0, 0, 0, 0, 0, 1}
		binary.BigEndian.PutUint16(h[2:], offset)
		return withExtensions(six, protoFragment, h)
	}
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"nothing":                      {nil, ErrTruncated},
		"version 5":                    {edit(four, func(b []byte) { b[0] = 0x55 }), ErrMalformed},
		"IPv4 header cut":              {four[:19], ErrTruncated},
		"IPv4 header too short":        {edit(four, func(b []byte) { b[0] = 0x44 }), ErrMalformed},
		"IPv4 shorter than its header": {edit(four, func(b []byte) { b[3] = 19 }), ErrMalformed},
		"UDP":                          {edit(four, func(b []byte) { b[9] = 17 }), ErrNotTCP},
		"IPv4 first fragment":          {edit(four, func(b []byte) { b[6] = 0x20 }), ErrFragment},
		"IPv4 last fragment":           {edit(four, func(b []byte) { b[7] = 1 }), ErrFragment},
		"IPv4 fragment of UDP":         {edit(four, func(b []byte) { b[7], b[9] = 1, 17 }), ErrNotTCP},
		"TCP header cut":               {four[:39], ErrTruncated},
		"TCP options cut":              {edit(four, func(b []byte) { b[32] = 0xf0; b[3] = 200 }), ErrTruncated},
		"TCP header too short":         {edit(four, func(b []byte) { b[32] = 0x40 }), ErrMalformed},
		"TCP header beyond packet":     {edit(four, func(b []byte) { b[32] = 0xf0 }), ErrMalformed},
		"packet ends in TCP header":    {edit(four, func(b []byte) { b[3] = 39 }), ErrMalformed},
		"IPv6 header cut":              {six[:39], ErrTruncated},
		"ICMPv6":                       {edit(six, func(b []byte) { b[6] = protoICMPv6 }), ErrNotTCP},
		"no next header":               {edit(six, func(b []byte) { b[6] = 59 }), ErrNotTCP},
		"ESP":                          {edit(six, func(b []byte) { b[6] = 50 }), ErrNotTCP},
		"IPv6 first fragment":          {fragment(1), ErrFragment},
		"IPv6 last fragment":           {fragment(8), ErrFragment},
		"routing, segments left":       {withExtensions(six, protoRouting, []byte{protoTCP, 0, 0, 1, 0, 0, 0, 0}), ErrRouted},
		"extension header cut":         {withExtensions(six, protoHopByHop, []byte{protoTCP, 0, 0, 0, 0, 0, 0, 0})[:44], ErrTruncated},
		"extension header too long":    {withExtensions(six, protoHopByHop, []byte{protoTCP, 255, 0, 0, 0, 0, 0, 0}), ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			if s, err := Parse(c.b); !errors.Is(err, c.want) {
				t.Errorf("Parse: %v, %v, want %v", s, err, c.want)
			}
		})
	}
}

// TestHeadersWillDo holds that a copy which ends behind the TCP header is read
// like the whole packet.
func TestHeadersWillDo(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		b := raw(v6)
		s, err := Parse(b[:len(b)-5])
		if err != nil {
			t.Fatal(err)
		}
		if s.Complete() || s.PayloadLen() != 5 || len(s.Payload()) != 0 || s.SeqLen() != 5 {
			t.Errorf("complete %v, payload of %d bytes, %d held", s.Complete(), s.PayloadLen(), len(s.Payload()))
		}
		if FieldsOf(s) != fields(v6) {
			t.Errorf("fields %+v, want %+v", FieldsOf(s), fields(v6))
		}
	}
}

// TestSetters holds that a field that is changed is read back and no other one.
func TestSetters(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		s := build(t, fields(v6), "hello")
		s.SetSeq(1)
		s.SetAck(2)
		s.SetFlags(FIN | ACK)
		s.SetWindow(3)
		s.SetTTL(4)
		s.SetTOS(0x15)
		want := fields(v6)
		want.Seq, want.Ack, want.Flags, want.Window, want.TTL, want.TOS = 1, 2, FIN|ACK, 3, 4, 0x15
		if got := FieldsOf(s); got != want {
			t.Errorf("fields %+v, want %+v", got, want)
		}
		if s.ChecksumOK() {
			t.Error("stale checksums hold")
		}
		s.UpdateChecksums()
		if fresh := want.Append(nil, []byte("hello")); string(fresh) != string(s.Bytes()) {
			t.Errorf("changed\n% x, built\n% x", s.Bytes(), fresh)
		}
		s.SetChecksum(s.Checksum() ^ 1)
		if s.ChecksumOK() {
			t.Error("a wrong checksum holds")
		}
	}
}

// TestTruncate holds that a shortened segment is what would have been built.
func TestTruncate(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		f := fields(v6)
		for n, text := range map[int]string{3: "hel", 0: "", 5: "hello"} {
			if got, want := build(t, f, "hello").Truncate(n).Bytes(), f.Append(nil, []byte(text)); string(got) != string(want) {
				t.Errorf("cut to %d: % x, want % x", n, got, want)
			}
		}
		s := build(t, f, "hello").CutPayload()
		if s.PayloadLen() != 0 || !s.Complete() || s.End() != s.Seq() {
			t.Errorf("payload of %d bytes is left", s.PayloadLen())
		}
	}
}

// TestSeqLen holds that SYN and FIN take a number each (RFC 9293 section 3.4).
func TestSeqLen(t *testing.T) {
	for flags, want := range map[Flags]uint32{ACK: 5, SYN: 6, FIN | ACK: 6, SYN | FIN: 7, RST: 5} {
		f := fields(false)
		f.Flags = flags
		if got := build(t, f, "hello").SeqLen(); got != want {
			t.Errorf("%v with 5 bytes: %d numbers, want %d", flags, got, want)
		}
	}
}
