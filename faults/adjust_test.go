package faults

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults/packet"
)

// adjustable are the faults whose settings can change while they are at work.
var adjustable = []string{
	"corrupt", "delay", "duplicate", "loss", "mtu-hole", "partition", "refuse", "reorder", "slice", "syn-drop", "throttle", "unreachable",
}

// started is the fault of a SPEC in force.
func started(t *testing.T, spec string) Instance {
	t.Helper()
	specs, err := ParseSpecs(spec)
	if err != nil {
		t.Fatal(err)
	}
	m, err := specs[0].Model()
	if err != nil {
		t.Fatal(err)
	}
	return m.Start()
}

// TestAdjustable holds which faults can be adjusted.
func TestAdjustable(t *testing.T) {
	var got []string
	for _, k := range Catalog {
		if _, ok := k.New().Start().New().(Adjuster); ok {
			got = append(got, k.Name)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, adjustable) {
		t.Errorf("%v can be adjusted, want %v", got, adjustable)
	}
}

// TestAdjust holds that the next segment is judged by the new settings, and what is kept
// of what was before.
func TestAdjust(t *testing.T) {
	f := packet.Fields{Src: netip.MustParseAddrPort("10.0.0.1:40000"), Dst: netip.MustParseAddrPort("10.0.0.2:5432"), TTL: 64, Flags: packet.ACK}
	data, err := packet.Parse(f.Append(nil, make([]byte, 1000)))
	if err != nil {
		t.Fatal(err)
	}
	f.Flags = packet.SYN
	syn, err := packet.Parse(f.Append(nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		before, after string
		seg           packet.Segment
		first, second Verdict
		hold, then    time.Duration
		notes         int // of the second segment
	}{
		"a delay, told of once":            {"delay:by=10ms", "delay:by=1s", data, Pass, Pass, 10 * time.Millisecond, time.Second, 0},
		"the other side's":                 {"delay:by=10ms,dir=server", "delay:by=10ms", data, Pass, Pass, 0, 10 * time.Millisecond, 1},
		"loss":                             {"loss:chance=100%", "loss:chance=100%,dir=server", data, Drop, Pass, 0, 0, 0},
		"a hole":                           {"mtu-hole:above=1500", "mtu-hole:above=500", data, Pass, Drop, 0, 0, 1},
		"a link that has a queue":          {"throttle:rate=8mbit", "throttle:rate=8mbit,queue=2s", data, Pass, Pass, 0, 1040 * time.Microsecond, 1},
		"attempts, one of which was spent": {"syn-drop:attempts=5", "syn-drop:attempts=1", syn, Drop, Pass, 0, 0, 0},
	} {
		instance, next := started(t, c.before), started(t, c.after)
		chain := NewChain([]Instance{instance})
		rng := rand.New(rand.NewPCG(1, 1))
		judge := func() (Verdict, *Effects) {
			out := new(Effects)
			out.Reset()
			v, _ := chain.OnSegment(&Event{Seg: c.seg, Flow: new(Flow), Rand: rng}, out)
			return v, out
		}
		want := func(v Verdict) Verdict { // a chain's last Pass is an Accept
			if v == Pass {
				return Accept
			}
			return v
		}
		if v, out := judge(); v != want(c.first) || out.Hold != c.hold {
			t.Errorf("%s: at first %v, held for %v; want %v, %v", name, v, out.Hold, want(c.first), c.hold)
		}
		chain.Adjust(0, next.New())
		if v, out := judge(); v != want(c.second) || out.Hold.Round(time.Microsecond) != c.then || len(out.Notes) != c.notes {
			t.Errorf("%s: then %v, held for %v, %d notes; want %v, %v, %d", name, v, out.Hold, len(out.Notes), want(c.second), c.then, c.notes)
		}
	}
}

// TestAdjustBacklog holds that places in a backlog that are taken stay so, for flows that
// were there and for new ones, and that all flows share the new one.
func TestAdjustBacklog(t *testing.T) {
	before, after := started(t, "syn-drop:backlog=2"), started(t, "syn-drop:backlog=3")
	one, two := before.New().(*synDrop), before.New().(*synDrop)
	if !one.backlog.enter(0) || !two.backlog.enter(0) || two.backlog.enter(0) {
		t.Fatal("a backlog of two has another size")
	}
	one.Adjust(after.New())
	two.Adjust(after.New())
	if one.backlog != two.backlog {
		t.Error("two connections have two backlogs")
	}
	if !after.New().(*synDrop).backlog.enter(0) || two.backlog.enter(0) {
		t.Error("of three places not just one was left")
	}
}

// TestAdjustNothing holds that the settings which a fault has already change nothing.
func TestAdjustNothing(t *testing.T) {
	link := started(t, "throttle:rate=8mbit")
	f := link.New().(*throttle)
	f.link.enter(Original, 0, time.Second, 0, time.Hour)
	was := f.link
	f.Adjust(link.New())
	if f.link != was || f.link.free[Original].Load() != int64(time.Second) {
		t.Error("the link is another one, or empty")
	}
}
