package survival

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/faults/features"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/injector"
	"github.com/google/go-cmp/cmp"
)

// settled is what one strike came to, with what says so.
func settled(sent, accepted, felt outcome.Answer, why outcome.Evidence) *outcome.Tally {
	step := func(a outcome.Answer) outcome.Step {
		if a == outcome.Yes {
			return outcome.Step{Answer: a, Evidence: outcome.RawSent}
		}
		return outcome.Step{Answer: a, Evidence: why}
	}
	return &outcome.Tally{Struck: 1, Furthest: outcome.Outcome{Struck: true, Sent: step(sent), Accepted: step(accepted), Felt: step(felt)}}
}

func preventedBy(how features.Prevention) *outcome.Tally {
	return &outcome.Tally{Prevented: outcome.Prevention{How: how, Silence: 500 * time.Millisecond, Needed: time.Second}}
}

// TestWords holds the word, the exit code and the reason for whatever the strikes
// of a case came to, with a command that succeeds and one that does not. Nothing is
// survived unless all three steps are yes.
func TestWords(t *testing.T) {
	const y, n, u = outcome.Yes, outcome.No, outcome.NotKnown
	for _, tc := range []struct {
		settled *outcome.Tally
		fails   bool
		want    report.Verdict
		code    event.Code
		says    string
	}{
		{settled(y, y, y, 0), false, report.Survived, 0, ""},
		{settled(y, y, y, 0), true, report.Failed, 3, "The command failed: exit 1."},
		{settled(y, y, n, outcome.NothingAtStake), false, report.Unfelt, 4, "reset was unfelt: nothing was at stake: nothing was outstanding, and nothing was sent afterwards. Choose a moment"},
		{settled(y, y, n, outcome.ClosedItself), false, report.Unfelt, 4, "the application had closed"},
		{settled(y, n, n, outcome.WentOn), false, report.NotAccepted, 4, "reset was not accepted: the TCP that it was meant for took no notice: the end went on as if nothing had come. Run it with the firewall"},
		{settled(y, n, n, outcome.Challenged), true, report.Failed, 3, "took no notice: the end answered with a challenge ACK"},
		{settled(n, n, n, outcome.SendFailed), false, report.NotAccepted, 4, "it did not leave this host: this host refused to send it, because a firewall drops it on the way out (EPERM)"},
		{settled(n, n, n, outcome.Eaten), false, report.NotAccepted, 4, "it did not leave this host: a rule of this host dropped it on its way. Let it out"},
		{settled(y, y, u, outcome.AnswerMayGoOn), false, report.NotKnown, 4, "whether the application had something at stake is not known: the answer may not have been over"},
		{settled(y, u, y, outcome.SilentAnyway), false, report.NotKnown, 4, "whether the TCP that it was meant for acted on it is not known: the end is silent, but had nothing to send"},
		{settled(u, y, y, outcome.NotWatched), false, report.NotKnown, 4, "whether it left this host is not known"},
		{&outcome.Tally{ClosedBefore: 2, Furthest: outcome.Outcome{Why: outcome.ClosedBefore}}, false, report.NeverFired, 4, "reset: its moment came on 2 connections, closed before: there was nothing to be struck. Have the command meet the fault's moment (faultctl faults reset says"},
		{&outcome.Tally{ClosedBefore: 2, Furthest: outcome.Outcome{Why: outcome.ClosedBefore}}, true, report.Failed, 3, "although the fault never fired"},
		{preventedBy(features.ByData), false, report.Prevented, 0, "reset was prevented: longest silence 0.5s of 1s: kept alive by data."},
		{preventedBy(features.ByKeepalives), false, report.Prevented, 0, "longest silence 0.5s of 1s: kept alive by keepalives."},
		{preventedBy(features.ByClient), false, report.Prevented, 0, "longest silence 0.5s of 1s: closed by the client."},
		{preventedBy(features.ByServer), false, report.NeverFired, 4, "The longest silence was 0.5s of 1s: the service closed first."},
		{preventedBy(features.ByData), true, report.Failed, 3, "although the fault was prevented"},
		{&outcome.Tally{}, false, report.NeverFired, 4, "the moment that it waits for did not come"},
	} {
		w := newWorld()
		w.settled, w.flows, w.chosen = tc.settled, 1, 1
		command := []string{"true"}
		if tc.fails {
			command = failsFrom(t, "2")
		}
		p, cases, err := w.verify(t, t.Context(), spec(t, "faults reset", command...), &diary{})
		if err != nil {
			t.Fatal(err)
		}
		c := cases[1]
		if c.Verdict != tc.want || p.Code(cases) != tc.code || !strings.Contains(c.Reason, tc.says) || tc.says == "" && c.Reason != "" {
			t.Errorf("%+v, fails %t:\n%s, code %d, %s\nwant %s, %d, %s", tc.settled, tc.fails, c.Verdict, p.Code(cases), c.Reason, tc.want, tc.code, tc.says)
		}
		if (c.Remedy != "") != (tc.fails && tc.settled.Struck > 0) {
			t.Errorf("%s: remedy %q", c.Reason, c.Remedy)
		}
	}
}

// TestUnsettled holds that a fault which acted, and of which nobody says what that
// came to, is not known, and never survived.
func TestUnsettled(t *testing.T) {
	w := newWorld()
	w.fires, w.settled = true, &outcome.Tally{}
	p, cases, err := w.verify(t, t.Context(), spec(t, "faults reset", "true"), &diary{})
	if err != nil || cases[1].Verdict != report.NotKnown || p.Code(cases) != event.CodeNeverFired {
		t.Errorf("%+v, %v", cases, err)
	}
}

// TestTimeout holds that a command which the limit ends is a timeout, whatever its
// status.
func TestTimeout(t *testing.T) {
	w := newWorld()
	w.fires = true
	d := &diary{}
	d.on = func(call string) {
		if call == "Running reset:at=request" {
			w.mu.Lock()
			w.over[time.Minute] = struct{}{}
			w.mu.Unlock()
		}
	}
	file := t.TempDir() + "/ran"
	p, cases, err := w.verify(t, t.Context(), spec(t, "faults reset timeout 1m", "sh", "-c", `[ -e "$0" ] || { : > "$0"; exit; }; trap "exit 0" TERM; sleep 60 & wait`, file), d)
	if err != nil || cases[1].Verdict != report.Timeout || p.Code(cases) != event.CodeProbe || cases[1].Remedy == "" ||
		!strings.HasPrefix(cases[1].Reason, "The command did not end in time: ") {
		t.Errorf("%+v, %v", cases, err)
	}
	if got, want := Verified(cases), (event.Verified{Timeout: 1, Healthy: true}); !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}

// TestMayIdle holds that all faults may idle, or one.
func TestMayIdle(t *testing.T) {
	for words, want := range map[string]event.Code{
		"":                 event.CodeNeverFired,
		" allow-idle true": event.CodeOK,
		" may-idle reset":  event.CodeNeverFired,
		" may-idle refuse": event.CodeNeverFired,
	} {
		w := newWorld()
		w.settled = settled(outcome.Yes, outcome.Yes, outcome.No, outcome.NothingAtStake)
		p, cases, err := w.verify(t, t.Context(), spec(t, "faults reset,refuse"+words, "true"), &diary{})
		if err != nil || p.Code(cases) != want {
			t.Errorf("%q: code %d, %v", words, p.Code(cases), err)
		}
	}
	if err := new(Spec).Set("may-idle", "keepalve-drop"); event.FieldOf(err) != "may-idle" || !strings.Contains(err.Error(), `did you mean "keepalive-drop"?`) {
		t.Errorf("%v", err)
	}
	w := newWorld()
	w.settled = settled(outcome.Yes, outcome.Yes, outcome.No, outcome.NothingAtStake)
	s := spec(t, "faults reset,refuse", "true")
	if err := s.Set("may-idle", "reset", "refuse"); err != nil {
		t.Fatal(err)
	}
	p, cases, err := w.verify(t, t.Context(), s, &diary{})
	if err != nil || p.Code(cases) != event.CodeOK || verdicts(cases) != "passed, unfelt, unfelt" {
		t.Errorf("%s: code %d, %v", verdicts(cases), p.Code(cases), err)
	}
	if want := "faultctl verify --faults reset,refuse --may-idle reset --may-idle refuse --seed 42 -- true"; p.CommandLine() != want {
		t.Errorf("%s", p.CommandLine())
	}
}

// TestSeveralFaults holds that each fault of a case counts, and that it is said
// which of them struck.
func TestSeveralFaults(t *testing.T) {
	for _, tc := range []struct {
		settled map[string]*outcome.Tally
		want    report.Verdict
		says    string
	}{
		{map[string]*outcome.Tally{"reset": settled(1, 1, 1, 0), "delay": settled(1, 1, 1, 0)}, report.Survived, ""},
		{map[string]*outcome.Tally{"reset": {}, "delay": settled(1, 1, 1, 0)}, report.NeverFired, "Of the faults of the case only delay struck."},
		{map[string]*outcome.Tally{"reset": settled(1, 1, 2, outcome.ClosedItself), "delay": settled(1, 1, 1, 0)}, report.Unfelt, "reset was unfelt"},
		{map[string]*outcome.Tally{"reset": preventedBy(features.ByData), "delay": settled(1, 1, 1, 0)}, report.Prevented, "reset was prevented"},
	} {
		w := newWorld()
		w.flows, w.chosen, w.settledOf = 1, 1, tc.settled
		s := spec(t, "", "true")
		var err error
		if s.Cases, err = ReadCases(strings.NewReader("reset:at=request,delay:by=1ms\n"), "F"); err != nil {
			t.Fatal(err)
		}
		_, cases, err := w.verify(t, t.Context(), s, &diary{})
		if err != nil || cases[1].Verdict != tc.want || !strings.Contains(cases[1].Reason, tc.says) {
			t.Errorf("%+v, %v; want %s, %q", cases[1], err, tc.want, tc.says)
		}
	}
}

// TestSecondTry holds that where nothing was felt on the chosen connections the
// others are struck, and that both attempts count.
func TestSecondTry(t *testing.T) {
	w := newWorld()
	w.flows, w.chosen, w.settled = 2, 1, preventedBy(features.ByKeepalives)
	w.begun = func() { // the second time it never fires
		w.settled = &outcome.Tally{}
	}
	_, cases, err := w.verify(t, t.Context(), spec(t, "faults idle-expire", "true"), &diary{})
	if err != nil || cases[1].Verdict != report.Prevented || len(w.started) != 2 {
		t.Errorf("%+v, %v, %d attempts", cases[1], err, len(w.started))
	}
	w = newWorld()
	w.flows, w.chosen, w.settled = 2, 1, settled(1, 1, 2, outcome.NothingAtStake)
	w.begun = func() { w.settled = settled(1, 1, 1, 0) }
	if _, cases, err = w.verify(t, t.Context(), spec(t, "faults reset", "true"), &diary{}); err != nil || cases[1].Verdict != report.Survived {
		t.Errorf("%+v, %v", cases[1], err)
	}
}

// TestDoubled holds that requests which may be carried out twice are counted over
// the runs of a case.
func TestDoubled(t *testing.T) {
	w := newWorld()
	w.settled = settled(1, 1, 1, 0)
	w.settled.AnswersLost, w.settled.SentAgain = 2, 1
	d := &diary{}
	_, cases, err := w.verify(t, t.Context(), spec(t, "faults reset repeat 2", "true"), d)
	if err != nil || cases[1].AnswersLost != 4 || cases[1].SentAgain != 2 {
		t.Errorf("%+v, %v", cases[1], err)
	}
	if e := d.results[1].Event(); e.AnswersLost != 4 || e.SentAgain != 2 {
		t.Errorf("%+v", e)
	}
	if want := "4 requests reached the service whole and their answer was lost; 2 of them came again, and the service carried out twice what it did not know again."; cases[1].Doubled() != want {
		t.Errorf("%s", cases[1].Doubled())
	}
}

// TestWrongTarget holds that a run without a fault which opens none of the
// target's connections ends the plan at once, and says which it did open.
func TestWrongTarget(t *testing.T) {
	w := newWorld()
	w.opens = []string{"127.0.0.1:5433", "127.0.0.1:5433", "10.0.0.9:80"}
	d := &diary{}
	p, cases, err := w.verify(t, t.Context(), spec(t, "faults reset,refuse to :5432 repeat 2", "true"), d)
	if err != nil || verdicts(cases) != "never fired, skipped, skipped" || p.Code(cases) != event.CodeNeverFired || len(w.started) > 0 {
		t.Errorf("%s, code %d, %v, %d runs under faults", verdicts(cases), p.Code(cases), err, len(w.started))
	}
	if want := "The command opened connections to 127.0.0.1:5433, 10.0.0.9:80; none to :5432."; cases[0].Reason != want {
		t.Errorf("%s", cases[0].Reason)
	}
	if got, want := Verified(cases), (event.Verified{Skipped: 2, Healthy: true}); !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	if m := w.watched[0].Rules[0].Match; m.To != nil || m.Owner.Any() {
		t.Errorf("watched: %+v", m)
	}
	w = newWorld()
	w.opens = nil
	if _, cases, _ = w.verify(t, t.Context(), spec(t, "faults reset from 10.0.0.0/8", "true"), &diary{}); cases[0].Reason != "The command opened no TCP connection. A Unix socket, the default of psql and mysql, is none: give the client a host, such as -h 127.0.0.1." {
		t.Errorf("%+v", cases[0])
	}
	var many []string
	for i := range 7 {
		many = append(many, fmt.Sprintf("10.0.0.9:%d", i+1))
	}
	w.opens = many
	if _, cases, _ = w.verify(t, t.Context(), spec(t, "faults reset to :80", "true"), &diary{}); !strings.Contains(cases[0].Reason, "10.0.0.9:5, 2 more; none to :80.") {
		t.Errorf("%+v", cases[0])
	}
}

// TestTargetNotWatched holds when a plan goes on although no connection of the
// target was seen: where nobody watched, or something may have been missed.
func TestTargetNotWatched(t *testing.T) {
	for words, set := range map[string]func(*world){
		"to :5432":                 func(w *world) { w.lost = 1 },
		"to :5432 allow-idle true": func(*world) {},
		"":                         func(*world) {},
		"to :5433":                 func(w *world) { w.opens = append(w.opens, "127.0.0.1:5433") },
	} {
		w := newWorld()
		w.fires, w.opens = true, []string{"127.0.0.1:80"}
		set(w)
		_, cases, err := w.verify(t, t.Context(), spec(t, "faults reset "+words, "true"), &diary{})
		if err != nil || verdicts(cases) != "passed, survived" {
			t.Errorf("%s: %s, %v", words, verdicts(cases), err)
		}
	}
	w := newWorld() // the kernel refuses: the command runs all the same, and the first case says it
	w.refuses = injector.ErrPermission
	_, cases, err := w.verify(t, t.Context(), spec(t, "faults reset to :1", "true"), &diary{})
	if err == nil || verdicts(cases) != "passed, error" || slices.ContainsFunc(w.cages, func(c *openCage) bool { return c.closed != 1 }) {
		t.Errorf("%s, %v", verdicts(cases), err)
	}
}
