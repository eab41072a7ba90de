package faults

import (
	"net/netip"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults/packet"
)

// TestEchoAfterSYN holds that a segment made in the name of an end of which
// only the SYN was seen echoes the peer's timestamp, wherever its clock stands:
// a SYN itself echoes nothing.
func TestEchoAfterSYN(t *testing.T) {
	client, server := netip.MustParseAddrPort("192.0.2.1:1000"), netip.MustParseAddrPort("192.0.2.2:80")
	for _, clock := range []uint32{1, 1 << 31, 0xffff0000} {
		f := Flow{Client: client, Server: server}
		syn := packet.Fields{Src: client, Dst: server, Flags: packet.SYN, Seq: 100, TTL: 64}
		syn.SetTimestamps(5, 0)
		synack := packet.Fields{Src: server, Dst: client, Flags: packet.SYN | packet.ACK, Seq: 200, Ack: 101, TTL: 64}
		synack.SetTimestamps(clock, 5)
		for n, fields := range []packet.Fields{syn, synack} {
			s, err := packet.Parse(fields.Append(nil, nil))
			if err != nil {
				t.Fatal(err)
			}
			f.Observe(time.Duration(n)*time.Millisecond, Direction(n), s)
		}
		like, ok := f.Like(Original, 2*time.Millisecond, packet.ACK)
		if _, ecr, stamped := like.Timestamps(); !ok || !stamped || ecr != clock {
			t.Errorf("the server's clock stands at %d, and %d is echoed", clock, ecr)
		}
	}
}
