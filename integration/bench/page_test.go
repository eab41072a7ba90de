package main

import (
	"strings"
	"testing"
)

// TestRulesTable checks that the results of BenchmarkRules get their own table,
// with both address families in a row.
func TestRulesTable(t *testing.T) {
	r := &results{}
	r.parse(`BenchmarkRules/syn-drop/IPv4-2         	    1000	    875915 ns/op	      1739 ns/bare	       111.9 ns/packet
BenchmarkRules/syn-drop/IPv6         	    1000	    875915 ns/op	      1739 ns/bare	       140.7 ns/packet
BenchmarkJudge-2   	 100	  103.4 ns/op	 0 B/op	 0 allocs/op
`)
	if got := r.rules(); !strings.Contains(got, "| syn-drop | 112 | 141 |\n") || strings.Contains(got, "Judge") {
		t.Errorf("the table is\n%s", got)
	}
	if got := (&results{}).rules(); got != "" {
		t.Errorf("without measurements there is a table:\n%s", got)
	}
}

// TestCeiling checks that the page says when a target is out of reach, with the
// run's own figures, and says nothing when it is within reach.
func TestCeiling(t *testing.T) {
	for direct, want := range map[float64]string{
		86_000: "1.91 times as many (86000 beside 45000). Traffic with every packet diverted made 67 % of direct",
		90_000: "", // twice
	} {
		r := &results{
			setups: []setup{{name: "direct"}, {name: all}, {name: toxi}},
			turns:  [][]turn{{beside(direct, direct)}, {beside(58_000, direct)}, {beside(45_000, direct)}},
		}
		if got := r.ceiling(); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("direct %v: it says %q, want %q", direct, got, want)
		}
	}
}

// beside is a turn with that many requests per second, between turns of direct
// traffic with that many.
func beside(rps, direct float64) turn {
	return turn{figures: figures{rps: rps}, direct: figures{rps: direct}}
}

// TestRatios checks that a setup is compared with the direct traffic next to it,
// and two setups by those ratios, so that a machine that gets slower during the
// run favours neither.
func TestRatios(t *testing.T) {
	r := &results{
		setups: []setup{{name: all}, {name: cLoop}},
		turns:  [][]turn{{beside(50, 100), beside(40, 80), beside(10, 20)}, {beside(20, 80), beside(20, 80), beside(4, 16)}},
	}
	if got := r.share(all, rps); got != 0.5 {
		t.Errorf("half of direct is %v", got)
	}
	if got := r.ratio(all, cLoop, rps); got != 2 {
		t.Errorf("a half beside a quarter is %v", got)
	}
}

// TestBetween checks the confidence interval of a median against the table of the
// sign test.
func TestBetween(t *testing.T) {
	for n, k := range map[int]int{1: 1, 5: 1, 6: 1, 8: 1, 9: 2, 11: 2, 12: 3, 15: 4, 20: 6, 25: 8} {
		var vs []float64
		for i := n; i > 0; i-- {
			vs = append(vs, float64(i))
		}
		if low, high := between(vs); low != float64(k) || high != float64(n+1-k) {
			t.Errorf("of %d: %v to %v, want %d to %d", n, low, high, k, n+1-k)
		}
	}
	if low, high := between(nil); low != 0 || high != 0 {
		t.Errorf("of none: %v to %v", low, high)
	}
}

// TestProfile checks that each sample counts for the first part that it matches,
// and that shares are shares of all samples.
func TestProfile(t *testing.T) {
	got := split(`  ffff tcp_ack
  ffff tcp_v4_rcv
  ffff nfqnl_reinject
  4711 github.com/faultctl/faultctl/injector.(*nfqueue).flush

  ffff tcp_v4_rcv
  ffff net_rx_action
  ffff nfqnl_reinject
  4711 github.com/faultctl/faultctl/injector.(*nfqueue).flush

  ffff netlink_sendmsg
  4711 github.com/faultctl/faultctl/injector.(*nfqueue).flush

  4712 github.com/faultctl/faultctl/injector.(*worker).handle

`, parts)
	want := map[string]float64{"forwarded": 0.25, "delivered": 0.25, "verdicts": 0.25, "judging": 0.25}
	for _, s := range got {
		name, _, _ := strings.Cut(s.what, ":")
		if s.of != want[name] {
			t.Errorf("%s: %v, want %v", s.what, s.of, want[name])
		}
	}
}

// TestGrowth checks that each number of clients has a row, each setup a column and
// a line, and that labels do not overlap.
func TestGrowth(t *testing.T) {
	r := &results{}
	for i, name := range []string{"direct", all, toxi} {
		g := grown{name, map[int][]float64{}}
		for _, n := range clientCounts {
			g.rps[n] = []float64{float64(10_000 + n*100 + i)}
		}
		r.grown = append(r.grown, g)
	}
	if got := r.growthTable(); !strings.Contains(got, "| 64 | 16400 | 16401 | 16402 |\n") {
		t.Errorf("the table is\n%s", got)
	}
	if got := (&results{}).growthTable(); got != "" {
		t.Errorf("without measurements there is a table:\n%s", got)
	}
	picture, places := r.growthPicture(), map[string]bool{}
	for _, g := range r.grown {
		before, _, found := strings.Cut(picture, ">"+g.name+"</text>")
		if !found {
			t.Fatalf("%s is not in the picture", g.name)
		}
		places[before[strings.LastIndex(before, "y=")+2:]] = true
	}
	if len(places) != len(r.grown) || strings.Count(picture, "<polyline") != len(r.grown) {
		t.Errorf("%d places of names, %d lines", len(places), strings.Count(picture, "<polyline"))
	}
}
