package packet_test

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/faultctl/faultctl/faults/packet"
)

// TestAppendPart cuts a packet that stands for several segments into them: each is
// the packet that its sender would have sent by itself.
func TestAppendPart(t *testing.T) {
	payload := make([]byte, 2500)
	for i := range payload {
		payload[i] = byte(i % 251)
	}
	for name, ends := range map[string][2]string{
		"IPv4": {"10.0.0.1:40000", "10.0.0.2:80"}, "IPv6": {"[fd00::1]:40000", "[fd00::2]:80"},
	} {
		t.Run(name, func(t *testing.T) {
			whole := packet.Fields{
				Src: netip.MustParseAddrPort(ends[0]), Dst: netip.MustParseAddrPort(ends[1]), TTL: 64, DF: true, ID: 0xffff, TOS: 2, FlowLabel: 7,
				Seq: 0xffff_ff00, Ack: 77, Flags: packet.ACK | packet.PSH | packet.FIN | packet.CWR, Window: 500,
			}
			whole.SetTimestamps(1000, 2000)
			super, err := packet.Parse(whole.Append(nil, payload))
			if err != nil {
				t.Fatal(err)
			}
			super.SetChecksum(0xdead) // the host leaves it to the device
			for _, c := range []struct {
				from, to int
				flags    packet.Flags
				id       uint16
			}{
				{0, 1000, packet.ACK | packet.CWR, 0xffff},
				{1000, 2000, packet.ACK, 0},
				{2000, 2500, packet.ACK | packet.PSH | packet.FIN, 1},
			} {
				alone := whole
				alone.Seq, alone.Flags = whole.Seq.Add(uint32(c.from)), c.flags
				if name == "IPv4" {
					alone.ID = c.id
				}
				want := alone.Append(nil, payload[c.from:c.to])
				got := super.AppendPart([]byte("before"), c.from, 1000)
				if !bytes.Equal(got, append([]byte("before"), want...)) {
					t.Errorf("from %d on\n%x\nwant\n%x", c.from, got[6:], want)
				}
			}
		})
	}
}
