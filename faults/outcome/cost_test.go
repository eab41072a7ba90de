package outcome

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/features"
	"github.com/faultctl/faultctl/faults/packet"
)

// TestNothingAllocates checks that what is fed and asked costs no memory.
func TestNothingAllocates(t *testing.T) {
	s := play(t, asked)
	seg := build(t, 0)
	n := testing.AllocsPerRun(100, func() {
		tr := s.tr
		tr.Segment(1e9, faults.Original, seg, features.Dropped)
		tr.Strike(1e9, faults.SentRST, faults.Client)
		tr.Forged(1e9, faults.Reply, seg)
		tr.SendFailed(1e9, faults.Server)
		tr.Kernel(1e9, faults.Client, SocketGone)
		tr.Segment(2e9, faults.Original, seg, features.Passed)
		if !tr.Outcome(9e9, faults.Both).Struck {
			t.Error("not struck")
		}
	})
	if n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkSegment(b *testing.B) {
	var tr Tracker
	seg := build(b, 0)
	for b.Loop() {
		tr.Segment(tr.Last+1, faults.Original, seg, features.Passed)
	}
}

// build makes a segment with payload of the client.
func build(t testing.TB, seq uint32) packet.Segment {
	f := packet.Fields{
		Src: netip.MustParseAddrPort("10.0.0.1:40000"), Dst: netip.MustParseAddrPort("10.0.0.2:80"),
		TTL: 64, DF: true, Window: 500, Flags: packet.ACK, Seq: packet.Seq(seq),
	}
	s, err := packet.Parse(f.Append(nil, []byte("hello")))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSize bounds what a connection costs that may be struck.
func TestSize(t *testing.T) {
	if n := reflect.TypeFor[Tracker]().Size(); n > 400 {
		t.Errorf("a Tracker takes %d bytes", n)
	} else {
		t.Logf("a Tracker takes %d bytes", n)
	}
}
