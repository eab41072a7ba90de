package scenario

import (
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/faults/features"
	"github.com/faultctl/faultctl/faults/outcome"
)

// TestMustArrive holds that a fault which must fire must have left this host and
// not been refused, on as many connections as it must, or have been prevented.
func TestMustArrive(t *testing.T) {
	of := func(sent, accepted outcome.Answer, s outcome.Tally) *outcome.Tally {
		s.Furthest = outcome.Outcome{Struck: true, Sent: outcome.Step{Answer: sent, Evidence: outcome.SendFailed}, Accepted: outcome.Step{Answer: accepted, Evidence: outcome.WentOn}}
		return &s
	}
	three := strings.Replace(oneFault, "fault:", "must-fire: 3, fault:", 1)
	for name, tc := range map[string]struct {
		file    string
		settled *outcome.Tally
		code    event.Code
		says    string
	}{
		"not sent":     {oneFault, of(outcome.No, outcome.No, outcome.Tally{Struck: 2, Unsent: 2}), 4, "reset was not accepted: it did not leave this host"},
		"not accepted": {oneFault, of(outcome.Yes, outcome.No, outcome.Tally{Struck: 2, Unaccepted: 2}), 4, "took no notice: the end went on"},
		"arrived":      {oneFault, of(outcome.Yes, outcome.NotKnown, outcome.Tally{Struck: 2, Unknown: 2}), 0, "every fault fired;"},
		"too seldom":   {three, of(outcome.Yes, outcome.Yes, outcome.Tally{Struck: 4, Felt: 2, Unsent: 1, Unaccepted: 1}), 4, "reset fired on 2 connections, and must on 3"},
		"often enough": {three, of(outcome.Yes, outcome.Yes, outcome.Tally{Struck: 4, Felt: 3, Unsent: 1}), 0, "every fault fired;"},
		"closed": {oneFault, &outcome.Tally{ClosedBefore: 2, Furthest: outcome.Outcome{Why: outcome.ClosedBefore}}, 4,
			"reset never fired: its moment came on 2 connections, closed before"},
		"prevented": {oneFault, &outcome.Tally{Prevented: outcome.Prevention{How: features.ByData, Silence: time.Second, Needed: 2 * time.Second}}, 0,
			"every fault fired, or the clients prevented it;"},
	} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(t *testing.T, st *stage) {
				st.fires, st.settled = 2, tc.settled
				if tc.settled.Struck == 0 {
					st.fires = tc.settled.ClosedBefore
				}
				r := st.play(t, tc.file, nil)
				says := strings.Join(r.Why, "; ")
				if r.Code == 0 {
					says = r.Holds()
				}
				if r.Code != tc.code || !strings.Contains(says, tc.says) {
					t.Errorf("%d, %q; want %d, %q", r.Code, says, tc.code, tc.says)
				}
				c := r.Entries[0].verdict()
				if c.Verdict.Idle() != (tc.code == 4) {
					t.Errorf("verdict %s", c.Verdict)
				}
			})
		})
	}
}
