package experiment

import (
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/injector"
	"github.com/google/go-cmp/cmp"
)

// TestOutcomeEvent holds what the event of an outcome says, and its times.
func TestOutcomeEvent(t *testing.T) {
	yes := func(at time.Duration, e outcome.Evidence) outcome.Step {
		return outcome.Step{At: at, Answer: outcome.Yes, Evidence: e}
	}
	for _, tc := range []struct {
		outcome outcome.Outcome
		want    event.Outcome
		text    string
	}{
		{
			outcome.Outcome{Struck: true, AnswerLost: true, Sent: yes(time.Second, outcome.RawSent), Accepted: yes(1002*time.Millisecond, outcome.SocketGone), Felt: yes(time.Second, outcome.AwaitedAnswer)},
			event.Outcome{Struck: true, AnswerLost: true, Sent: event.OutcomeStep{Answer: "yes", Evidence: "it was sent without an error", After: "0s"},
				Accepted: event.OutcomeStep{Answer: "yes", Evidence: "the kernel's socket is gone", After: "2ms"},
				Felt:     event.OutcomeStep{Answer: "yes", Evidence: "an answer was outstanding", After: "0s"}},
			"sent, accepted, felt: an answer was outstanding",
		},
		{ // when it was struck is not known
			outcome.Outcome{Struck: true, Sent: yes(time.Second, outcome.ByEffect), Accepted: yes(time.Second, outcome.Silence), Felt: outcome.Step{Evidence: outcome.HistoryUnseen}},
			event.Outcome{Struck: true, Sent: event.OutcomeStep{Answer: "yes", Evidence: "its receiver acted on it"},
				Accepted: event.OutcomeStep{Answer: "yes", Evidence: "the end is silent where it would have sent again"},
				Felt:     event.OutcomeStep{Answer: "not known", Evidence: "what was outstanding was not seen"}},
			"sent, accepted, not known whether felt: what was outstanding was not seen",
		},
		{
			outcome.Outcome{Why: outcome.ClosedBefore},
			event.Outcome{Why: "the connection was closed before", Sent: event.OutcomeStep{Answer: "not known"}, Accepted: event.OutcomeStep{Answer: "not known"}, Felt: event.OutcomeStep{Answer: "not known"}},
			"not struck: the connection was closed before",
		},
	} {
		tc.want.Fault, tc.want.Rule, tc.want.Ordinal, tc.want.Flow = "reset", 1, 7, event.Ends{Client: "a", Server: "b"}
		got := eventOf(injector.Event{Kind: injector.Outcome, Fault: "reset", Rule: 1, Ordinal: 7, Flow: injector.Flow{Client: "a", Server: "b"}, Outcome: tc.outcome})
		if diff := cmp.Diff(event.Event(tc.want), got); diff != "" {
			t.Error(diff)
		}
		if text := tc.want.Text(); text != tc.text {
			t.Errorf("%q, want %q", text, tc.text)
		}
	}
}

// TestOutcomeOf holds that nothing is claimed of what was not settled, and that a
// connection which was closed before is not struck.
func TestOutcomeOf(t *testing.T) {
	felt := outcome.Outcome{Struck: true, Felt: outcome.Step{Answer: outcome.Yes}}
	for _, tc := range []struct {
		stats injector.FaultStats
		want  outcome.Outcome
		n     uint64
	}{
		{injector.FaultStats{}, outcome.Outcome{Why: outcome.NotStruck}, 0},
		{injector.FaultStats{Fired: 2}, outcome.Outcome{Struck: true}, 2},
		{injector.FaultStats{Fired: 2, Settled: outcome.Tally{ClosedBefore: 2}}, outcome.Outcome{Why: outcome.ClosedBefore}, 0},
		{injector.FaultStats{Fired: 2, Settled: outcome.Tally{ClosedBefore: 1}}, outcome.Outcome{Struck: true}, 1},
		{injector.FaultStats{Fired: 2, Settled: outcome.Tally{Struck: 1, ClosedBefore: 1, Furthest: felt}}, felt, 1},
		{injector.FaultStats{Settled: outcome.Tally{Struck: 1, Furthest: felt}}, felt, 1}, // it noted nothing
	} {
		if got := OutcomeOf(tc.stats); got != tc.want || Strikes(tc.stats) != tc.n {
			t.Errorf("%+v: %+v, %d strikes", tc.stats, got, Strikes(tc.stats))
		}
	}
}

// TestObserve holds that what only watches fires, and claims nothing.
func TestObserve(t *testing.T) {
	for fired, want := range map[uint64]outcome.Verdict{0: outcome.NeverFired, 1: outcome.Fired} {
		s := Spec{Command: []string{"true"}}
		stats := injector.Snapshot{Rules: []injector.RuleStats{{Faults: []injector.FaultStats{{Name: "observe", Fired: fired}}}}}
		if j := s.Judge(stats, outcome.Succeeded); j.Verdict != want || (j.Code() == event.CodeOK) != (fired > 0) {
			t.Errorf("fired %d: %s, code %d", fired, j.Verdict, j.Code())
		}
		if j := s.Judge(stats, outcome.CommandFailed); j.Verdict != outcome.Failed || j.Code() != event.CodeProbe {
			t.Errorf("failed: %s", j.Verdict)
		}
	}
}

func TestSeconds(t *testing.T) {
	for d, want := range map[time.Duration]string{500 * time.Millisecond: "0.5s", time.Second: "1s", 350 * time.Second: "350s", 812345 * time.Microsecond: "0.81s"} {
		if got := seconds(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}
