package survival

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector"
)

// talk is a conversation of a client's port with a service, which the server's RST
// ends. rst is what became of the RST.
func talk(port uint16, rst injector.Fate) (out []injector.Packet) {
	client, server := netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), port), netip.MustParseAddrPort("10.0.0.5:5432")
	add := func(fromServer bool, flags packet.Flags, seq, ack packet.Seq, size int, fate injector.Fate) {
		f := packet.Fields{Src: client, Dst: server, TTL: 64, DF: true, ID: uint16(len(out)), Flags: flags, Seq: seq, Ack: ack, Window: 500}
		if fromServer {
			f.Src, f.Dst = server, client
		}
		b := f.Append(nil, make([]byte, size))
		out = append(out, injector.Packet{
			Time: noon.Add(time.Duration(len(out)) * 10 * time.Millisecond), Bytes: b, Length: len(b), FromServer: fromServer, Fate: fate,
			Flow: injector.Flow{Client: client.String(), Server: server.String()},
		})
	}
	add(false, packet.SYN, 1000, 0, 0, injector.Passed)
	add(true, packet.SYN|packet.ACK, 5000, 1001, 0, injector.Passed)
	add(false, packet.ACK, 1001, 5001, 0, injector.Passed)
	add(false, packet.ACK|packet.PSH, 1001, 5001, 10, injector.Passed)
	add(true, packet.RST|packet.ACK, 5001, 1011, 0, rst)
	return out
}

// TestStory holds that what a fault did to a connection is told apart from what else
// struck, and that packets come in the order in which they leave.
func TestStory(t *testing.T) {
	s := newStory()
	for _, p := range talk(40000, injector.Forged) {
		s.packet(p)
	}
	for _, p := range talk(40001, injector.Passed) {
		s.packet(p)
	}
	client := talk(40002, injector.Passed) // it aborts itself
	client[4] = client[3]
	last := packet.Fields{Src: netip.MustParseAddrPort("10.0.0.1:40002"), Dst: netip.MustParseAddrPort("10.0.0.5:5432"), TTL: 64, Flags: packet.RST | packet.ACK, Seq: 1011, Ack: 5001, Window: 500}
	client[4].Bytes = last.Append(nil, nil)
	for _, p := range client {
		s.packet(p)
	}
	late := talk(40003, injector.Late) // told of before what it comes after
	late[3], late[4] = late[4], late[3]
	for _, p := range late {
		s.packet(p)
	}
	ours, others := s.end()
	const cause = "connection to 10.0.0.5:5432: cannot tell: reset or linger-reset or unread-close: a RST in the name of the server: RST and ACK, as a socket sends that aborts"
	const causes = "connections to 10.0.0.5:5432: cannot tell: reset or linger-reset or unread-close: a RST in the name of the server: RST and ACK, as a socket sends that aborts"
	if len(ours) != 1 || !strings.HasPrefix(ours[0], "2 "+causes) || len(others) != 1 || !strings.HasPrefix(others[0], "1 "+cause) {
		t.Errorf("ours: %q\nothers: %q", ours, others)
	}
}

// TestStoryOfCase holds that a case which failed says what its connections went
// through, and any case what else struck.
func TestStoryOfCase(t *testing.T) {
	for _, fails := range []bool{false, true} {
		w := newWorld()
		w.fires = true
		w.begun = func() {
			cfg := w.started[len(w.started)-1]
			for i, fate := range []injector.Fate{injector.Forged, injector.Passed} {
				for _, p := range talk(uint16(40000+i), fate) {
					cfg.OnPacket(p)
				}
			}
		}
		command := []string{"true"}
		if fails {
			command = failsFrom(t, "2")
		}
		d := &diary{}
		_, cases, err := w.verify(t, t.Context(), spec(t, "faults reset", command...), d)
		if err != nil {
			t.Fatal(err)
		}
		c := cases[1]
		want := 0
		if fails {
			want = 1
		}
		if (c.Verdict == report.Failed) != fails || len(c.Connections) != want || len(c.Others) != 1 {
			t.Errorf("fails %v: %s, %q, %q", fails, c.Verdict, c.Connections, c.Others)
		}
		if e := d.results[1].Event(); fmt.Sprint(e.Connections, e.Others) != fmt.Sprint(c.Connections, c.Others) {
			t.Errorf("the event has %q, %q", e.Connections, e.Others)
		}
	}
}
