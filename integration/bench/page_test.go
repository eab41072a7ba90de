package main

import (
	"strings"
	"testing"
)

// TestRulesTable holds that what the benchmark of the rules prints gets a table of
// its own, both families in a row.
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

// TestCeiling holds that a target which no way can reach in a run is said to be so,
// with the run's own figures, and that nothing is said where it can be reached.
func TestCeiling(t *testing.T) {
	for direct, want := range map[float64]string{
		86_000: "1.91 times as many (86000 beside 45000). Of that, traffic that is diverted packet by packet made 67 %",
		90_000: "", // twice
	} {
		r := &results{
			ways:  []way{{name: "direct"}, {name: all}, {name: toxi}},
			turns: [][]turn{{{rps: direct}}, {{rps: 58_000}}, {{rps: 45_000}}},
		}
		if got := r.ceiling(); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("direct %v: it says %q, want %q", direct, got, want)
		}
	}
}
