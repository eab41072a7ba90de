package faults_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
)

// conversation is a handshake and data both ways, over and over on new numbers.
type conversation struct {
	segs [5]packet.Segment
	dirs [5]faults.Direction
	flow faults.Flow
}

func newConversation(t testing.TB, v6 bool) *conversation {
	t.Helper()
	c, s := netip.MustParseAddrPort("10.0.0.1:40000"), netip.MustParseAddrPort("10.0.0.2:80")
	if v6 {
		c, s = netip.MustParseAddrPort("[fd00::1]:40000"), netip.MustParseAddrPort("[fd00::2]:80")
	}
	conv := &conversation{flow: faults.Flow{Client: c, Server: s}}
	for i, x := range []struct {
		dir      faults.Direction
		flags    packet.Flags
		seq, ack packet.Seq
		payload  int
	}{
		{faults.Original, packet.SYN, 1, 0, 0},
		{faults.Reply, packet.SYN | packet.ACK, 9, 2, 0},
		{faults.Original, packet.ACK, 2, 10, 0},
		{faults.Original, packet.ACK | packet.PSH, 2, 10, 1000},
		{faults.Reply, packet.ACK | packet.PSH, 10, 1002, 1000},
	} {
		f := packet.Fields{Src: c, Dst: s, TTL: 64, DF: true, Flags: x.flags, Seq: x.seq, Ack: x.ack, Window: 500}
		if x.dir == faults.Reply {
			f.Src, f.Dst = s, c
		}
		f.SetTimestamps(1, 1)
		seg, err := packet.Parse(f.Append(nil, make([]byte, x.payload)))
		if err != nil {
			t.Fatal(err)
		}
		conv.segs[i], conv.dirs[i] = seg, x.dir
	}
	return conv
}

// TestNothingAllocates holds that no fault of the catalogue allocates for a
// segment, whatever it decides.
func TestNothingAllocates(t *testing.T) {
	for _, k := range faults.Catalog {
		for _, v6 := range []bool{false, true} {
			conv := newConversation(t, v6)
			chain := faults.NewChain([]faults.Model{complete(t, k)})
			ev := faults.Event{Flow: &conv.flow, Rand: rand.New(rand.NewPCG(1, 1))}
			var out faults.Effects
			play := func() {
				for i, seg := range conv.segs {
					ev.At += time.Second
					out.Reset()
					ev.Seg, ev.Dir = seg, conv.dirs[i]
					ev.Fresh = conv.flow.Observe(ev.At, ev.Dir, seg)
					chain.OnSegment(&ev, &out)
					for chain.NextWake() <= ev.At {
						chain.OnWake(&ev, &out)
					}
				}
			}
			for range 100 {
				play() // let buffers grow
			}
			if n := testing.AllocsPerRun(200, play); n > 0 {
				t.Errorf("%s: %v allocations for 5 segments", k.Name, n)
			}
		}
	}
}

func BenchmarkCatalog(b *testing.B) {
	for _, k := range faults.Catalog {
		b.Run(k.Name, func(b *testing.B) {
			conv := newConversation(b, false)
			m := k.New()
			switch m := m.(type) {
			case *faults.IdleExpire:
				m.After = time.Hour
			case *faults.Delay:
				m.By = time.Millisecond
			case *faults.Throttle:
				m.Rate = 1e12
			}
			m.Validate()
			chain := faults.NewChain([]faults.Model{m})
			ev := faults.Event{Flow: &conv.flow, Rand: rand.New(rand.NewPCG(1, 1))}
			var out faults.Effects
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				out.Reset()
				ev.At += time.Microsecond
				ev.Seg, ev.Dir = conv.segs[3+i%2], conv.dirs[3+i%2]
				ev.Fresh = conv.flow.Observe(ev.At, ev.Dir, ev.Seg)
				chain.OnSegment(&ev, &out)
			}
		})
	}
}
