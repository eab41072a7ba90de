package scenario

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/evidence"
	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/injector"
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

// reported plays a file and reads the report that it leaves.
func (st *stage) reported(t *testing.T, text string, before func(*evidence.Evidence)) (Result, *report.Report) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "r.json")
	ev, err := evidence.Open(evidence.Config{Command: "faultctl", Reports: []string{path}, Now: st.Now, Proc: st.Proc, Warn: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	if before != nil {
		before(ev)
	}
	r := st.play(t, text, ev)
	for _, err := range ev.Close(r.Code, "") {
		t.Error(err)
	}
	text2, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var rep report.Report
	if err := json.Unmarshal(text2, &rep); err != nil {
		t.Fatal(err)
	}
	return r, &rep
}

// TestPlayReport holds that a scenario leaves a case for each fault and each
// probe, whatever ends it.
func TestPlayReport(t *testing.T) {
	late := func(_ string, at time.Duration) error {
		if at > 3*time.Second {
			return errors.New("refused")
		}
		return nil
	}
	for name, tc := range map[string]struct {
		prepare func(*stage)
		code    event.Code
		want    []report.Verdict
	}{
		"fine":         {func(*stage) {}, 0, []report.Verdict{report.Done, report.Done, report.Passed}},
		"never fired":  {func(st *stage) { st.fires = 0 }, 4, []report.Verdict{report.NeverFired, report.NeverFired, report.Passed}},
		"may be idle":  {func(st *stage) { st.fires, st.opts.AllowIdle = 0, true }, 0, []report.Verdict{report.Done, report.Done, report.Passed}},
		"probe failed": {func(st *stage) { st.fails = late }, 3, []report.Verdict{report.Done, report.Done, report.Failed}},
		"broken":       {func(st *stage) { st.refuse = injector.ErrPermission }, 5, []report.Verdict{report.Skipped, report.Skipped, report.Passed, report.Broken}},
		"not steady": {func(st *stage) { st.fails = func(string, time.Duration) error { return errors.New("refused") } }, 3,
			[]report.Verdict{report.Skipped, report.Skipped, report.Failed}},
	} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(t *testing.T, st *stage) {
				tc.prepare(st)
				res, r := st.reported(t, evidenceDay, nil)
				synctest.Wait()
				if res.Code != tc.code || r.Code != int(tc.code) || r.Seed != 42 || !strings.HasPrefix(r.Command, "faultctl scenario run day.yaml --seed 42") {
					t.Errorf("%+v", r)
				}
				var got []report.Verdict
				for _, c := range r.Cases {
					got = append(got, c.Verdict)
				}
				if strings.Join(texts(got), ", ") != strings.Join(texts(tc.want), ", ") {
					t.Fatalf("%q, want %q", got, tc.want)
				}
				if r.Cases[0].Name != "idle" || r.Cases[1].Fault != "syn-drop" || r.Cases[2].Name != "web" || r.Cases[1].Target != "syn-drop:attempts=1: connections to :6379" {
					t.Errorf("%+v", r.Cases)
				}
				for _, c := range r.Cases {
					if (c.Reason == "") != (c.Verdict == report.Done && name != "may be idle" || c.Verdict == report.Passed && name == "broken") {
						t.Errorf("%s is %s because %q", c.Name, c.Verdict, c.Reason)
					}
				}
				if name == "fine" && (len(r.Cases[0].Events) != 3 || len(r.Cases[0].Faults) != 1 || r.Cases[0].Faults[0].Fired != 1) {
					t.Errorf("%+v", r.Cases[0])
				}
				if line := r.Timeline; name == "fine" && (len(line.Faults) != 2 || line.Faults[0].Name != "idle" || len(line.Faults[0].Spans) != 1 ||
					!line.Faults[0].Spans[0].From.Equal(st.began.Add(2*time.Second)) || line.Faults[0].Spans[0].To.Sub(line.Faults[0].Spans[0].From) != 10*time.Second ||
					len(line.Probes[0].Spans) != 1 || line.Probes[0].Spans[0].Tries < 20 || len(line.Load) < 80 || line.Load[len(line.Load)-1].Connections == 0) {
					t.Errorf("%+v", line)
				}
				if line := r.Timeline; name == "probe failed" && (len(line.Probes[0].Spans) != 2 || !line.Probes[0].Spans[1].Failed || line.Probes[0].Spans[1].Note != "refused") {
					t.Errorf("%+v", line.Probes)
				}
				if name == "fine" && (len(r.Cases[1].Packets) != 1 || r.Cases[1].Packets[0].Comment != "forged by syn-drop (rule 1, connection 4)") {
					t.Errorf("%+v", r.Cases[1].Packets)
				}
			})
		})
	}
}

func texts(vs []report.Verdict) (all []string) {
	for _, v := range vs {
		all = append(all, string(v))
	}
	return all
}

// TestCaseOfPulses holds that the case of an entry that comes and goes begins when
// it first became active.
func TestCaseOfPulses(t *testing.T) {
	onStage(t, func(t *testing.T, st *stage) {
		_, r := st.reported(t, `faults: [{fault: reset, target: {to: ":80"}, start: 1s, duration: 9s, pulse: {on: 1s, off: 2s}}]`, nil)
		c := r.Cases[0]
		if want := st.began.Add(time.Second); len(c.Events) != 9 || !c.Start.Equal(want) || c.Faults[0].Fired != 3 {
			t.Errorf("%d events, %+v, and it began at %v, want %v", len(c.Events), c.Faults, c.Start, want)
		}
	})
}

// TestCutShort holds that a scenario which does not come to its end leaves what is
// known of it.
func TestCutShort(t *testing.T) {
	onStage(t, func(t *testing.T, st *stage) {
		_, r := st.reported(t, evidenceDay, func(ev *evidence.Evidence) {
			time.AfterFunc(6500*time.Millisecond, func() { ev.Abandon(130, "ended by a second signal") })
		})
		if len(r.Cases) != 3 || r.Code != 130 || r.Cases[0].Verdict != report.Skipped || r.Cases[0].Faults[0].Fired != 1 || len(r.Cases[1].Events) != 3 ||
			r.Cases[2].Name != "the scenario" || r.Cases[2].Verdict != report.Broken || r.Cases[2].Reason != "ended by a second signal" {
			t.Errorf("%+v", r)
		}
	})
}

// TestCounters holds that the counters of runs that come and go are served as one
// rule for each entry, in the file's order.
func TestCounters(t *testing.T) {
	stats := func(name string, fired uint64) injector.Snapshot {
		return injector.Snapshot{Diverted: 2, Rules: []injector.RuleStats{{Flows: fired, Faults: []injector.FaultStats{{Name: name, Fired: fired}}}}}
	}
	k := newKeeper(nil, &player{entries: make([]*entryRun, 2)})
	begin := func(entry int, s injector.Snapshot) { k.meters[entry].now = func() injector.Snapshot { return s } }
	begin(1, stats("reset", 1))
	got := k.snapshot()
	if len(got.Rules) != 2 || len(got.Rules[0].Faults) != 0 || got.Rules[1].Faults[0].Fired != 1 || got.Diverted != 2 {
		t.Errorf("one goes on: %+v", got)
	}
	three := stats("reset", 3)
	k.over(1, &three)
	begin(0, stats("loss", 1))
	begin(1, stats("reset", 2))
	got = k.snapshot()
	if len(got.Rules) != 2 || got.Rules[0].Faults[0].Name != "loss" || got.Rules[1].Faults[0].Fired != 5 || got.Diverted != 6 {
		t.Errorf("again: %+v", got)
	}
	k.over(0, nil)
	if got = k.snapshot(); len(got.Rules[0].Faults) != 0 {
		t.Errorf("one never became active: %+v", got)
	}
}
