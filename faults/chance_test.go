package faults_test

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
)

// draws has a fault judge n data segments of one connection, of the client.
func draws(t *testing.T, spec string, n int, each func(faults.Verdict, *faults.Effects)) {
	t.Helper()
	words := strings.Fields(spec)
	kind, err := faults.Find(words[0])
	if err != nil {
		t.Fatal(err)
	}
	m := kind.New()
	for _, kv := range words[1:] {
		knob, value, _ := strings.Cut(kv, "=")
		if err := faults.Set(m, knob, value); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	conv := newConversation(t, false)
	f := m.Start().New()
	ev := faults.Event{Flow: &conv.flow, Rand: rand.New(rand.NewPCG(1, 1)), Fresh: true}
	var out faults.Effects
	for range n {
		out.Reset()
		ev.At += time.Microsecond
		ev.Seg, ev.Dir = conv.segs[3], faults.Original
		v := f.OnSegment(&ev, &out)
		each(v, &out)
	}
}

// TestShares holds that each fault with a chance strikes that share of 100,000
// segments.
func TestShares(t *testing.T) {
	const n = 100_000
	for spec, want := range map[string]float64{
		"loss chance=10%":                   0.1,
		"loss chance=10% burst-length=1":    0.1,
		"loss chance=10% burst-length=4":    0.1,
		"loss chance=75% burst-length=3":    0.75,
		"loss chance=1% burst-length=20":    0.01,
		"loss chance=100%":                  1,
		"loss chance=10% dir=server":        0,
		"duplicate chance=5%":               0.05,
		"reorder chance=5%":                 0.05,
		"corrupt chance=5% what=payload":    0.05,
		"corrupt chance=0.1% what=checksum": 0.001,
	} {
		struck := 0
		draws(t, spec, n, func(v faults.Verdict, out *faults.Effects) {
			if v == faults.Drop || len(out.Notes) > 0 {
				struck++
			}
		})
		if share := float64(struck) / n; math.Abs(share-want) > 0.01 || want > 0 && math.Abs(share-want) > want/2 {
			t.Errorf("%s strikes %.3f %%", spec, 100*share)
		}
	}
}

// TestBursts holds that losses come in runs of the length that was asked for
// (Gilbert-Elliott), and by themselves where none was.
func TestBursts(t *testing.T) {
	for spec, want := range map[string]float64{"loss chance=10%": 1 / 0.9, "loss chance=10% burst-length=4": 4, "loss chance=50% burst-length=10": 10} {
		lost, runs, before := 0, 0, false
		draws(t, spec, 200_000, func(v faults.Verdict, _ *faults.Effects) {
			if v == faults.Drop {
				lost++
				if !before {
					runs++
				}
			}
			before = v == faults.Drop
		})
		if mean := float64(lost) / float64(runs); math.Abs(mean-want) > want/10 {
			t.Errorf("%s: runs of %.2f, want %.2f", spec, mean, want)
		}
	}
}

// TestDelays holds mean and spread of the distributions.
func TestDelays(t *testing.T) {
	const n = 100_000
	for spec, want := range map[string]struct{ mean, deviation, least, most float64 }{ // in ms
		"delay by=50ms":                                             {50, 0, 50, 50},
		"delay by=50ms jitter=10ms":                                 {50, 10 / math.Sqrt(3), 40, 60},
		"delay by=50ms jitter=10ms distribution=normal":             {50, 10, 0, 100},
		"delay by=50ms jitter=10ms distribution=pareto":             {55, math.Sqrt(3) / 2 * 10, 50, 10_000}, // shape 3: 1/2 and 3/4 of the scale's square
		"delay by=0s jitter=10ms distribution=normal":               {10 / math.Sqrt(2*math.Pi), 5.84, 0, 60},
		"delay by=50ms jitter=10ms reorder=true dir=client":         {50, 10 / math.Sqrt(3), 40, 60},
		"delay by=50ms jitter=10ms distribution=uniform dir=server": {0, 0, 0, 0},
	} {
		var sum, squares float64
		least, most := math.Inf(1), 0.0
		draws(t, spec, n, func(_ faults.Verdict, out *faults.Effects) {
			ms := float64(out.Hold) / 1e6
			sum, squares = sum+ms, squares+ms*ms
			least, most = min(least, ms), max(most, ms)
		})
		mean := sum / n
		deviation := math.Sqrt(max(0, squares/n-mean*mean))
		if math.Abs(mean-want.mean) > 0.3 || math.Abs(deviation-want.deviation) > 0.7 || least < want.least || most > want.most {
			t.Errorf("%s: mean %.2f ms, deviation %.2f ms, from %.2f to %.2f ms", spec, mean, deviation, least, most)
		}
	}
}

// TestLifetimes holds that the ages at which reset strikes have the mean that
// was asked for.
func TestLifetimes(t *testing.T) {
	kind, err := faults.Find("reset")
	if err != nil {
		t.Fatal(err)
	}
	m := kind.New()
	if err := faults.Set(m, "mean-lifetime", "30s"); err != nil {
		t.Fatal(err)
	}
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	conv := newConversation(t, false)
	in := []faults.Instance{m.Start()}
	rng := rand.New(rand.NewPCG(1, 1))
	var out faults.Effects
	const n = 20_000
	var sum time.Duration
	for range n {
		c := faults.NewChain(in)
		out.Reset()
		c.OnSegment(&faults.Event{Seg: conv.segs[0], Flow: &conv.flow, Rand: rng, Fresh: conv.segs[0].Flags().Has(packet.SYN)}, &out)
		sum += c.NextWake()
	}
	if mean := sum / n; mean < 29*time.Second || mean > 31*time.Second {
		t.Errorf("a mean lifetime of %v", mean)
	}
}
