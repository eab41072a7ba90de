package experiment

import (
	"strings"
	"testing"

	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/injector"
)

// TestOthersHold holds that connections of others to the command's service are told of,
// with what strikes them.
func TestOthersHold(t *testing.T) {
	p := &Plan{}
	p.Spec.Faults, _ = faults.ParseSpecs("reset:at=request")
	p.Spec.Target.To = []string{":9000"}
	p.Spec.Command = []string{"curl", "localhost"}
	for want, h := range map[string]place.Holding{
		"": {},
		"such connections: nginx (process 30) holds 4 connections, user root holds 1 connection. Only what the command opens itself is struck": {
			Holders: []place.Holder{{PID: 30, Name: "nginx", Conns: 4}, {Name: "user root", Conns: 1}}},
		"c holds 1 connection, 2 more. Only":                  {Holders: []place.Holder{{Name: "a", Conns: 1}, {Name: "b", Conns: 1}, {Name: "c", Conns: 1}, {Name: "d", Conns: 1}, {Name: "e", Conns: 1}}},
		"Others had such connections: 2 closed a moment ago.": {Closed: 2},
	} {
		got := p.aboutOthers(h)
		if !strings.Contains(got, want) || want == "" && got != "" || want != "" && !strings.Contains(got, ": faultctl inject reset --at request --to :9000 (with --pid") {
			t.Errorf("%+v: %q", h, got)
		}
	}
}

// TestWhyNothingWasStruck holds what is said of a fault whose moment did not come.
func TestWhyNothingWasStruck(t *testing.T) {
	for name, c := range map[string]struct {
		fault, command string
		isolated       bool
		flows          uint64
		tally          outcome.Tally
		says, not      string
	}{
		"nothing listens":       {fault: "reset:at=request", command: "curl x", flows: 2, tally: outcome.Tally{Unconnected: 2}, says: "none of the chosen connections was established", not: "namespace"},
		"nor can be reached":    {fault: "reset:at=request", command: "curl x", isolated: true, flows: 2, tally: outcome.Tally{Unconnected: 2}, says: "it cannot reach a service outside"},
		"some were established": {fault: "reset:at=request", command: "curl x", isolated: true, flows: 2, tally: outcome.Tally{Unconnected: 1}, says: "the moment that it waits for did not come", not: "established"},
		"match under TLS":       {fault: "reset:at=match=GET", command: "curl x", flows: 1, tally: outcome.Tally{Encrypted: 1}, says: "The connections use TLS: GET is looked for in what is on the wire"},
		"match without TLS":     {fault: "reset:at=match=GET", command: "curl x", flows: 1, says: "the moment", not: "TLS"},
		"TLS without match":     {fault: "reset:at=response=9", command: "curl x", flows: 1, tally: outcome.Tally{Encrypted: 1}, says: "the moment", not: "TLS"},
		"a Unix socket":         {fault: "reset", command: "/usr/bin/psql -c x", says: "psql uses a Unix socket, which is no TCP connection, unless it is told a host"},
		"no Unix socket":        {fault: "reset", command: "curl x", says: "there was not one", not: "Unix"},
	} {
		p := &Plan{isolated: c.isolated, cfg: injector.Config{Rules: []injector.Rule{{}}}}
		p.Spec.Faults, _ = faults.ParseSpecs(c.fault)
		p.Spec.Command = strings.Fields(c.command)
		f := Judged{Fault: "reset", Verdict: outcome.NeverFired, Rule: injector.RuleStats{Flows: c.flows, Chosen: c.flows}, Stats: injector.FaultStats{Settled: c.tally}}
		got := p.WhyNot(Result{}, f)
		if !strings.Contains(got, c.says) || c.not != "" && strings.Contains(got, c.not) {
			t.Errorf("%s: %q", name, got)
		}
	}
}
