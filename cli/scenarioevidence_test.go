package cli

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/report"
)

const evidenceDay = `name: evidence
duration: 20s
faults:
  - name: idle
    fault: "reset"
    target: {to: ":5432"}
    start: 2s
    duration: 10s
  - name: late
    fault: "syn-drop:attempts=1"
    target: {to: ":6379"}
    start: 5s
    duration: 5s
probes:
  - name: web
    tcp: 127.0.0.1:80
    interval: 1s
`

// TestScenarioReport holds that a scenario leaves a case for each fault and each
// probe, whatever ends it.
func TestScenarioReport(t *testing.T) {
	for name, tc := range map[string]struct {
		prepare func(*fakeClockWorld)
		code    int
		want    []report.Verdict
	}{
		"fine":        {func(*fakeClockWorld) {}, exitOK, []report.Verdict{report.Done, report.Done, report.Passed}},
		"never fired": {func(w *fakeClockWorld) { w.fires = 0 }, exitNotFired, []report.Verdict{report.NeverFired, report.NeverFired, report.Passed}},
		"probe failed": {func(w *fakeClockWorld) {
			w.fails = func(_ string, at time.Duration) error {
				if at > 3*time.Second {
					return experiment.ErrTimeUp
				}
				return nil
			}
		}, exitProbe, nil},
	} {
		t.Run(name, func(t *testing.T) {
			withFakeClock(t, func(t *testing.T, w *fakeClockWorld) {
				tc.prepare(w)
				code := w.play(t, evidenceDay, "--report", "r.json")
				synctest.Wait()
				if code != tc.code {
					t.Fatalf("exit %d, want %d\n%s%s", code, tc.code, &w.out, &w.err)
				}
				r := readReport(t, "r.json")
				if r.Code != code || r.Seed != 42 || !strings.HasPrefix(r.Command, "faultctl scenario run day.yaml") {
					t.Errorf("%+v", r)
				}
				for i, v := range tc.want {
					if i >= len(r.Cases) || r.Cases[i].Verdict != v {
						t.Fatalf("case %d is not %q: %+v", i, v, r.Cases)
					}
				}
				if len(r.Cases) != 3 || r.Cases[0].Name != "idle" || r.Cases[1].Fault != "syn-drop" || r.Cases[2].Name != "web" {
					t.Fatalf("%+v", r.Cases)
				}
				if tc.code == exitProbe && (r.Cases[2].Verdict != report.Failed || r.Cases[2].Reason == "") {
					t.Errorf("%+v", r.Cases[2])
				}
				if tc.code == exitOK && (len(r.Cases[0].Events) != 3 || r.Cases[0].Faults[0].Fired != 1 || r.Cases[0].Took != 0 && r.Cases[0].Took != 10*time.Second) {
					t.Errorf("%+v", r.Cases[0])
				}
			})
		})
	}
}

// TestCaseOfPulses holds that the case of a fault that comes and goes begins when
// it first became active.
func TestCaseOfPulses(t *testing.T) {
	withFakeClock(t, func(t *testing.T, w *fakeClockWorld) {
		w.play(t, `faults: [{fault: reset, target: {to: ":80"}, start: 1s, duration: 9s, pulse: {on: 1s, off: 2s}}]`, "--report", "r.json")
		c := readReport(t, "r.json").Cases[0]
		if want := w.began.Add(time.Second); len(c.Events) != 9 || !c.Start.Equal(want) || !c.Start.Equal(c.Events[0].At) {
			t.Errorf("%d events, and it began at %v, want %v", len(c.Events), c.Start, want)
		}
	})
}
