package evidence

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/injector"
)

// TestPacketsAroundAFault holds that of a long connection those packets are
// kept that stand near what a fault did, in order, and not too many.
func TestPacketsAroundAFault(t *testing.T) {
	r := &Record{}
	noon := time.Date(2026, 3, 4, 12, 0, 0, 5, time.UTC)
	dbFlow := injector.Flow{Client: "10.0.0.1:43210", Server: "10.0.0.5:5432"}
	send := func(n int, fate injector.Fate) {
		r.packet(injector.Packet{Time: noon.Add(time.Duration(n)), Fate: fate, Flow: dbFlow, Bytes: []byte{0}})
	}
	for n := range 1000 {
		fate := injector.Passed
		if n == 500 {
			fate = injector.Dropped
		}
		send(n, fate)
	}
	var c report.Case
	r.Fill(&c)
	if len(c.Packets) != 2*keptAround+1 || c.Packets[keptAround].Fate != "dropped" || !c.Packets[0].At.Equal(noon.Add(500-keptAround)) {
		t.Errorf("%d packets kept: %+v", len(c.Packets), c.Packets)
	}
	for n := range 1000 {
		send(n, injector.Forged)
	}
	if len(r.packets) > keptOfFlow+keptAround {
		t.Errorf("%d packets of one connection kept", len(r.packets))
	}
}

// TestOutcomes holds that what strikes came to is in a report.
func TestOutcomes(t *testing.T) {
	r := &Record{now: func() injector.Snapshot {
		return injector.Snapshot{Rules: []injector.RuleStats{{Faults: []injector.FaultStats{{Name: "reset", Fired: 3, Settled: outcome.Tally{
			Struck: 9, Unsent: 1, Unaccepted: 2, Unfelt: 3, Felt: 4, Unknown: 5, ClosedBefore: 6, AnswersLost: 8, SentAgain: 7}}}}}}
	}}
	r.Take(time.Time{}, event.Outcome{Fault: "reset", Flow: event.Ends{Client: "a", Server: "b"}, Why: "nothing was done to it"})
	var c report.Case
	r.Fill(&c)
	if want := (report.Event{Kind: "outcome", Fault: "reset", Client: "a", Server: "b", Reason: "not struck: nothing was done to it"}); len(c.Events) != 1 || c.Events[0] != want {
		t.Errorf("%+v", c.Events)
	}
	if want := (report.FaultStats{Fault: "reset", Fired: 3, Struck: 9, Unsent: 1, Unaccepted: 2, Unfelt: 3, Felt: 4, Unknown: 5, ClosedBefore: 6,
		AnswersLost: 8, SentAgain: 7}); c.Faults[0] != want {
		t.Errorf("%+v", c.Faults)
	}
}

// TestSurvival holds what is said of a command that ran under faults.
func TestSurvival(t *testing.T) {
	step := func(a outcome.Answer) outcome.Step { return outcome.Step{Answer: a} }
	of := func(felt outcome.Answer) outcome.Tally {
		return outcome.Tally{Struck: 1, AnswersLost: 1, Furthest: outcome.Outcome{Struck: true, Sent: step(outcome.Yes), Accepted: step(outcome.Yes), Felt: step(felt)}}
	}
	for _, tc := range []struct {
		settled outcome.Tally
		end     place.JobEnd
		allow   bool
		want    report.Verdict
	}{
		{of(outcome.Yes), place.JobEnd{}, false, report.Survived},
		{of(outcome.No), place.JobEnd{}, false, report.Unfelt},
		{of(outcome.No), place.JobEnd{}, true, report.Skipped},
		{of(outcome.NotKnown), place.JobEnd{}, false, report.NotKnown},
		{outcome.Tally{}, place.JobEnd{}, false, report.NeverFired},
		{of(outcome.Yes), place.JobEnd{Status: 1}, false, report.Failed},
		{of(outcome.No), place.JobEnd{Status: 1}, true, report.Failed},
		{of(outcome.Yes), place.JobEnd{Status: 143, TimedOut: true}, false, report.Timeout},
	} {
		sys := experiment.NewSystem()
		p, err := sys.Plan(t.Context(), experiment.Spec{Faults: []faults.Spec{{Name: "reset"}}, Command: []string{"true"}, AllowIdle: tc.allow})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		c := Survival(p, tc.end, experiment.Result{Stats: injector.Snapshot{Rules: []injector.RuleStats{{Flows: 1, Chosen: 1,
			Faults: []injector.FaultStats{{Name: "reset", Settled: tc.settled}}}}}}, nil)
		if c.Verdict != tc.want || (c.Remedy != "") != tc.want.Fails() || c.AnswersLost != tc.settled.AnswersLost {
			t.Errorf("%+v, %+v: %+v; want %s", tc.settled, tc.end, c, tc.want)
		}
	}
}

// TestInterrupted holds that a run which was ended before its time is not done, and
// one that only a person can end is.
func TestInterrupted(t *testing.T) {
	sys := experiment.NewSystem()
	for _, tc := range []struct {
		duration time.Duration
		cause    error
		code     event.Code
		want     report.Verdict
		cut      bool
	}{
		{time.Minute, errors.New("SIGINT"), 130, report.Interrupted, true},
		{time.Minute, experiment.ErrTimeUp, 0, report.Done, false},
		{0, errors.New("SIGINT"), 130, report.Done, false},
	} {
		p, err := sys.Plan(t.Context(), experiment.Spec{Faults: []faults.Spec{{Name: "partition"}}, Duration: &tc.duration, Target: experiment.Target{To: []string{":1"}}})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		path := filepath.Join(t.TempDir(), "r.json")
		ev, err := Open(Config{Command: "inject", Reports: []string{path}, Now: time.Now, Proc: "/nowhere", Warn: io.Discard})
		if err != nil {
			t.Fatal(err)
		}
		done := outcome.Tally{Struck: 1, Felt: 1, Furthest: outcome.Outcome{Struck: true, Sent: outcome.Step{Answer: outcome.Yes}, Accepted: outcome.Step{Answer: outcome.Yes}, Felt: outcome.Step{Answer: outcome.Yes}}}
		c := Struck(p, experiment.Result{Took: 3 * time.Second, Cause: tc.cause, Stats: injector.Snapshot{Rules: []injector.RuleStats{{Flows: 1, Chosen: 1,
			Faults: []injector.FaultStats{{Name: "partition", Fired: 1, Settled: done}}}}}}, nil)
		if c.Verdict != tc.want || tc.cut && c.Reason != "It was ended after 3s of 1m." {
			t.Errorf("%+v: %+v", tc, c)
		}
		ev.Add(c, nil)
		if lost := ev.Close(tc.code, ""); lost != nil {
			t.Fatal(lost)
		}
		text, err := os.ReadFile(path)
		if err != nil || strings.Contains(string(text), `"interrupted": true`) != tc.cut || strings.Contains(string(text), `"passed": true`) == tc.cut {
			t.Errorf("%+v: %s, %v", tc, text, err)
		}
	}
}
