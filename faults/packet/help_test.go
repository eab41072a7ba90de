package packet

import (
	"encoding/binary"
	"net/netip"
	"testing"
)

var (
	client4 = netip.MustParseAddrPort("10.0.0.1:43210")
	server4 = netip.MustParseAddrPort("10.0.0.5:5432")
	client6 = netip.MustParseAddrPort("[fd00::1]:43210")
	server6 = netip.MustParseAddrPort("[fd00::5]:5432")
)

// fields are those of an ordinary segment of one family.
func fields(v6 bool) Fields {
	f := Fields{
		Src: client4, Dst: server4, TTL: 61, TOS: 0x48, ID: 0xbeef, DF: true,
		Seq: 0xfffffff0, Ack: 77, Flags: PSH | ACK, Window: 502,
	}
	if v6 {
		f.Src, f.Dst, f.ID, f.DF, f.FlowLabel = client6, server6, 0, false, 0xabcde
	}
	return f
}

// build makes the segment of f, or ends the test.
func build(t testing.TB, f Fields, payload string) Segment {
	t.Helper()
	s, err := Parse(f.Append(nil, []byte(payload)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// raw returns the bytes of an ordinary segment with payload "hello".
func raw(v6 bool) []byte {
	f := fields(v6)
	return f.Append(nil, []byte("hello"))
}

// withExtensions puts extension headers between the IPv6 header of a packet and
// what follows. first is the kind of the first one; each names its successor,
// the last one TCP.
func withExtensions(b []byte, first byte, headers ...[]byte) []byte {
	out := append([]byte(nil), b[:ipv6Header]...)
	out[6] = first
	for _, h := range headers {
		out = append(out, h...)
	}
	out = append(out, b[ipv6Header:]...)
	binary.BigEndian.PutUint16(out[4:], uint16(len(out)-ipv6Header))
	return out
}

// withOptions gives an IPv4 packet IP options, which fill whole words.
func withOptions(b []byte, options ...byte) []byte {
	out := append(append(append([]byte(nil), b[:ipv4Header]...), options...), b[ipv4Header:]...)
	out[0] += byte(len(options) / 4)
	binary.BigEndian.PutUint16(out[2:], uint16(len(out)))
	return out
}

// edit returns a changed copy of b.
func edit(b []byte, change func([]byte)) []byte {
	b = append([]byte(nil), b...)
	change(b)
	return b
}
