package scenario

import (
	"errors"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/experiment/document"
)

// TestWarnings holds what is said of things that cannot happen.
func TestWarnings(t *testing.T) {
	const head = "duration: 10s\nfaults:\n  - {fault: "
	for text, want := range map[string]string{
		head + `"idle-expire:after=300s", target: {to: ":1"}}`:                                      "day.yaml:3:13: faults[0].fault: idle-expire waits for 5m, and is active for 10s at a time: it cannot fire",
		head + `{idle-expire: {preset: aws-nlb}}, target: {to: ":1"}}`:                              "idle-expire waits for 5m50s",
		head + `"idle-expire:after=3s", target: {to: ":1"}, pulse: {on: 2s, off: 1s}}`:              "is active for 2s at a time",
		head + `"idle-expire:after=3s", target: {to: ":1"}}`:                                        "",
		head + `reset, target: {to: ":1", max-connections: 2}, must-fire: 3}`:                       "faults[0].must-fire: it must fire on 3 connections, and strikes 2 at most",
		head + `reset, target: {to: ":1"}}` + "\nprobes: [{name: a, tcp: 'h:1', interval: 10s}]":    "probes[0].interval: it is asked every 10s, and the timeline lasts 10s: it is asked once",
		head + `reset}` + "\nprobes: [{name: a, tcp: 'h:1'}]\nabort: [{probe: a, failing-for: 1m}]": "abort[0].failing-for: nothing can fail for 1m in a timeline of 10s",
		Template(""):           "",
		Template("db.test:80"): "",
	} {
		s, err := Parse("day.yaml", []byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got := s.Warnings()
		if want == "" && len(got) > 0 || want != "" && (len(got) != 1 || !strings.Contains(got.Error(), want) || got[0].Advice == "") {
			t.Errorf("%s\n%v, want %s", text, got, want)
		}
	}
}

// TestAllProblems holds that what the schema does not know keeps nothing else from
// being found, and that nothing is said which only follows from it.
func TestAllProblems(t *testing.T) {
	_, err := Parse("day.yaml", []byte(`duration: 10s
colour: blue
faults:
  - name: a
    fault: reset
    target: {to: ":1"}
    strat: 3s
    start: 20s
  - name: a
    fault: nonsense
    duration: soon
  - fault: reset:at=reqest
    start: 1s
    duration: 30s
probes:
  - name: p
    tcp: nowhere
  - {tcp: 'h:1'}
abort: [{probe: q, failures: 3}]
`))
	var ps document.Problems
	if !errors.As(err, &ps) {
		t.Fatal(err)
	}
	var lines []string
	for _, p := range ps {
		lines = append(lines, strings.TrimPrefix(p.String(), "day.yaml:"))
	}
	text := strings.Join(lines, "\n")
	for _, want := range []string{`unknown key "colour"`, `unknown key "strat"`, "start: it would begin after 20s", "nonsense", "duration: ", "reqest",
		"it would last until 31s", "probes[0].tcp"} {
		if strings.Count(text, want) == 0 {
			t.Errorf("nothing about %s in\n%s", want, text)
		}
	}
	if strings.Contains(text, `two probes of the name ""`) || strings.Contains(text, "nothing says how long") {
		t.Errorf("what follows from others:\n%s", text)
	}
}
