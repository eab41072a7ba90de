package experiment

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/injector"
)

// TestElsewhere holds that a command whose connections are others' is told so.
func TestElsewhere(t *testing.T) {
	for line, want := range map[string]string{
		"docker exec web curl": " What docker starts is not one of its children: strike the container", "/usr/bin/ssh db": " What ssh starts", "true": "",
	} {
		if got := startedElsewhere(strings.Fields(line)); got != want && (want == "" || !strings.HasPrefix(got, want)) {
			t.Errorf("%s: %q", line, got)
		}
	}
}

// TestAboutNAT holds that a long list of translations is cut.
func TestAboutNAT(t *testing.T) {
	at := netip.MustParseAddrPort
	var many []injector.Translation
	for range 5 {
		many = append(many, injector.Translation{From: at("10.0.0.1:8080"), To: at("172.17.0.2:80")})
	}
	if text := aboutNAT(many); !strings.Contains(text, "and 2 more, which") {
		t.Error(text)
	}
}

// TestSpentShare holds that a share which is used up is told so, and how it recurs.
func TestSpentShare(t *testing.T) {
	judgement := func(flows, chosen, fired uint64) Judgement {
		return Judgement{Faults: []Judged{{Fault: "reset", Rule: injector.RuleStats{Flows: flows, Chosen: chosen}, Stats: injector.FaultStats{Fired: fired}}}}
	}
	p := &Plan{Spec: Spec{Target: Target{Percent: new(5.0)}}}
	if got := p.spent(judgement(200, 9, 9)); !strings.Contains(got, "chose 9 of 200") || !strings.Contains(got, "--percent 5%/1m") {
		t.Error(got)
	}
	if got := p.spent(judgement(200, 9, 8)) + p.spent(judgement(9, 9, 9)); got != "" {
		t.Error(got)
	}
	if p.Spec.Target.PercentEvery = time.Minute; p.spent(judgement(200, 9, 9)) != "" {
		t.Error("a share that recurs is said to be used up")
	}
}

// TestPercentRecurs holds how a share that recurs is written.
func TestPercentRecurs(t *testing.T) {
	for text, want := range map[string]string{"5%/1m": "5%/1m", "0.5/6s": "0.5%/6s", "5%/m": "5%/1m", "5%": "5"} {
		var s Spec
		if err := s.Set("percent", text); err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := s.Get("percent"); len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %s", text, got, want)
		}
	}
	for _, wrong := range []string{"5%/", "5%/1ms", "5%/x", "x/1m"} {
		if err := new(Spec).Set("percent", wrong); err == nil {
			t.Errorf("%s is taken", wrong)
		}
	}
}
