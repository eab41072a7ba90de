package scenario

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// steps writes a timeline as one line a step.
func steps(s *Scenario) (lines []string) {
	for _, st := range s.Timeline() {
		line := fmt.Sprintf("%v %v %d", st.At, st.Do, st.Fault)
		switch {
		case st.Do != Stop && st.Percent >= 0:
			line += fmt.Sprintf(" %g%%", st.Percent)
		}
		if st.Pulse > 0 {
			line += fmt.Sprintf(" (pulse %d)", st.Pulse)
		}
		lines = append(lines, line)
	}
	return lines
}

func TestTimeline(t *testing.T) {
	for file, want := range map[string]string{
		"faults: [{fault: reset, duration: 10s}]":                                                    "0s start 0; 10s stop 0",
		"faults: [{fault: reset, start: 2s}]\nduration: 5s":                                          "2s start 0; 5s stop 0",
		"faults: [{fault: reset, duration: 2s}, {fault: \"delay:by=5ms\", start: 1s}]\nduration: 2s": "0s start 0; 1s start 1; 2s stop 0; 2s stop 1",
		// what ends makes room for what begins
		"faults: [{fault: reset, start: 1s, duration: 1s}, {fault: \"delay:by=5ms\", duration: 1s}]":       "0s start 1; 1s stop 1; 1s start 0; 2s stop 0",
		"faults: [{fault: reset, start: 1s, duration: 10s, pulse: {on: 2s, off: 3s}}]":                     "1s start 0; 3s stop 0; 6s start 0 (pulse 1); 8s stop 0",
		"faults: [{fault: reset, duration: 6s, pulse: {on: 2s, off: 3s}}]":                                 "0s start 0; 2s stop 0; 5s start 0 (pulse 1); 6s stop 0",
		"faults: [{fault: reset, start: 1s, duration: 9s, ramp: {from: 10, to: 50%, over: 4s, steps: 2}}]": "1s start 0 10%; 3s percent 0 30%; 5s percent 0 50%; 10s stop 0",
		"faults: [{fault: reset, duration: 4s, ramp: {from: 50, to: 0, over: 4s, steps: 2}}]":              "0s start 0 50%; 2s percent 0 25%; 4s stop 0",
		// a pulse begins with the share that the ramp has reached meanwhile
		"faults: [{fault: reset, duration: 8s, pulse: {on: 1s, off: 2s}, ramp: {to: 100, over: 8s, steps: 8}}]": "0s start 0 0%; 1s stop 0; 3s start 0 37.5% (pulse 1); 4s stop 0; 6s start 0 75% (pulse 2); 7s stop 0",
	} {
		s, err := Parse("f", []byte(file))
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if d := cmp.Diff(strings.Split(want, "; "), steps(s)); d != "" {
			t.Errorf("%s (-want +got):\n%s", file, d)
		}
	}
}

func TestWatch(t *testing.T) {
	for _, tc := range []struct {
		probe, abort string
		tries        string // + passed, - failed; one a second, each takes 100 ms
		abortsAt     int    // ordinal of the try; -1: never
		because      string
		held         bool
	}{
		{"", "", "+++", -1, "", true},
		{"", "", "+-+", -1, "", false},
		{"tolerance: 2", "", "--+", -1, "", true},
		{"tolerance: 2", "", "-+-+-", -1, "", false},
		{"tolerance: 50%", "", "-+-+", -1, "", true},
		{"tolerance: 50%", "", "-+-", -1, "", false},
		{"", "{probe: p}", "++-", 2, "it failed once", false},
		{"", "{probe: p, failures: 3}", "--+---", 5, "it failed 3 times in a row", false},
		{"", "{probe: p, failing-for: 2s}", "+--+---", 6, "it has not passed for 2s", false},
		{"", "{probe: p, failing-for: 2s, failures: 2}", "+--", 2, "it failed 2 times in a row", false},
		{"", "{probe: p, failing-for: 2s}, {probe: p, failures: 9}", "---", 2, "it has not passed for 2s", false},
		{"", "{probe: other}", "---", -1, "", false},
	} {
		s, err := Parse("f", []byte("faults: [{fault: reset, duration: 1s}]\nprobes: [{name: p, tcp: h:1, "+tc.probe+"}, {name: other, tcp: h:1}]\nabort: ["+tc.abort+"]\n"))
		if err != nil {
			t.Errorf("%+v: %v", tc, err)
			continue
		}
		w := s.NewWatch(&s.Probes[0])
		at, because := -1, ""
		for i, try := range tc.tries {
			began := time.Duration(i) * time.Second
			if because = w.Note(began, began+100*time.Millisecond, try == '+'); because != "" {
				at = i
				break
			}
		}
		if at != tc.abortsAt || because != tc.because || w.Held() != tc.held {
			t.Errorf("%+v: aborted at %d because %q, held %v", tc, at, because, w.Held())
		}
	}
}
