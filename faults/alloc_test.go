package faults_test

import (
	"iter"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
)

// conversation is a connection from its handshake to its end, with what faults
// look for in between.
type conversation struct {
	segs []packet.Segment
	dirs []faults.Direction
	flow faults.Flow
}

func newConversation(t testing.TB, v6 bool) *conversation {
	t.Helper()
	c, s := netip.MustParseAddrPort("10.0.0.1:40000"), netip.MustParseAddrPort("10.0.0.2:80")
	if v6 {
		c, s = netip.MustParseAddrPort("[fd00::1]:40000"), netip.MustParseAddrPort("[fd00::2]:80")
	}
	conv := &conversation{flow: faults.Flow{Client: c, Server: s}}
	for _, x := range []struct {
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
		{faults.Original, packet.ACK, 1002, 1010, 0},
		{faults.Original, packet.ACK, 1001, 1010, 0}, // a keepalive probe
		{faults.Reply, packet.ACK, 1010, 1002, 0},
		{faults.Original, packet.ACK | packet.PSH, 1002, 1010, 1448},
		{faults.Original, packet.ACK | packet.PSH, 1002, 1010, 1448}, // once more
		{faults.Reply, packet.ACK | packet.PSH, 1010, 2450, 5},
		{faults.Reply, packet.ACK | packet.FIN, 1015, 2450, 0},
		{faults.Original, packet.ACK | packet.FIN, 2450, 1016, 0},
		{faults.Reply, packet.ACK, 1016, 2451, 0},
		{faults.Original, packet.RST, 2451, 0, 0},
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
		conv.segs, conv.dirs = append(conv.segs, seg), append(conv.dirs, x.dir)
	}
	return conv
}

// TestNothingAllocates holds that no fault of the catalogue allocates for a
// segment or an alarm, whatever it decides: with each setting that a trace has, on
// connections of its own, from the first segment to the last.
func TestNothingAllocates(t *testing.T) {
	const warm, runs = 20, 50
	tried := map[string]bool{}
	for spec := range tracedSpecs(t) {
		kind, err := faults.Find(spec[0])
		if err != nil {
			t.Fatal(err)
		}
		tried[kind.Name] = true
		m := kind.New()
		for _, kv := range spec[1:] {
			knob, value, _ := strings.Cut(kv, "=")
			if err := faults.Set(m, knob, value); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.Validate(); err != nil {
			t.Fatal(err)
		}
		if raceDetector && strings.Contains(strings.Join(spec, " "), "match=/") {
			continue // it empties the pool of package regexp at random
		}
		in := []faults.Instance{m.Start()}
		for _, v6 := range []bool{false, true} {
			conv := newConversation(t, v6)
			var chains [warm + runs + 1]*faults.Chain
			for i := range chains {
				chains[i] = faults.NewChain(in)
			}
			ev := faults.Event{Flow: &conv.flow, Rand: rand.New(rand.NewPCG(1, 1))}
			var out faults.Effects
			next := 0
			play := func() {
				chain := chains[next]
				next++
				conv.flow = faults.Flow{Client: conv.flow.Client, Server: conv.flow.Server}
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
			for range warm {
				play() // let buffers grow
			}
			if n := testing.AllocsPerRun(runs, play); n > 0 {
				t.Errorf("%s: %v allocations for a connection", strings.Join(spec, " "), n)
			}
		}
	}
	for _, k := range faults.Catalog {
		if !tried[k.Name] {
			t.Errorf("%s was not tried", k.Name)
		}
	}
}

// tracedSpecs yields each fault and its settings as the golden traces have it.
func tracedSpecs(t testing.TB) iter.Seq[[]string] {
	t.Helper()
	files, _ := filepath.Glob("testdata/*.trace")
	return func(yield func([]string) bool) {
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(text)) {
				if words := strings.Fields(line); len(words) > 1 && words[0] == "fault" && !yield(words[1:]) {
					return
				}
			}
		}
	}
}
