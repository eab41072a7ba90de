package packet

import (
	"net/netip"
	"slices"
	"testing"
)

// TestSetEnds holds that a segment with other ends is what it would be had it been made
// with them, and that a wrong checksum stays as wrong as it was.
func TestSetEnds(t *testing.T) {
	for _, c := range [][4]string{
		{"10.0.0.1:40000", "10.0.0.2:8080", "10.0.0.1:40000", "192.168.7.9:80"},
		{"10.0.0.1:40000", "10.0.0.2:8080", "255.255.255.255:65535", "0.0.0.0:0"},
		{"[fd00::1]:40000", "[fd00::2]:8080", "[fd00::1]:40000", "[2001:db8::7]:443"},
	} {
		var e [4]netip.AddrPort
		for i := range c {
			e[i] = netip.MustParseAddrPort(c[i])
		}
		f := Fields{Src: e[0], Dst: e[1], TTL: 64, DF: true, Seq: 7, Ack: 9, Flags: ACK | PSH, Window: 100}
		for _, payload := range []string{"", "odd", "hello!"} {
			s, err := Parse(f.Append(nil, []byte(payload)))
			if err != nil {
				t.Fatal(err)
			}
			g := f
			g.Src, g.Dst = e[2], e[3]
			want := g.Append(nil, []byte(payload))
			s.SetEnds(e[2], e[3])
			if !slices.Equal(s.Bytes(), want) {
				t.Errorf("%v: %q\n% x, want\n% x", c, payload, s.Bytes(), want)
			}
			s.SetChecksum(s.Checksum() ^ 0x1234)
			s.SetEnds(e[0], e[1])
			if s.ChecksumOK() {
				t.Errorf("%v: a wrong checksum was made right", c)
			}
			// The quote of a packet with the one end, renamed, is that of one with the other.
			plain, _ := Parse(f.Append(nil, []byte(payload)))
			g = f
			g.Dst = e[3]
			to, _ := Parse(g.Append(nil, []byte(payload)))
			got := AppendUnreachable(nil, e[1].Addr(), 1, 5, plain)
			RenameQuoted(got, e[3])
			if want := AppendUnreachable(nil, e[3].Addr(), 1, 5, to); !slices.Equal(got, want) && e[1].Addr().Is4() == e[3].Addr().Is4() {
				if e[1].Addr().Is6() { // the label is made of the addresses
					copy(got[:4], want[:4])
				}
				if !slices.Equal(got, want) {
					t.Errorf("%v: quote\n% x, want\n% x", c, got, want)
				}
			}
		}
	}
}
