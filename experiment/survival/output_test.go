package survival

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/report"
	"github.com/google/go-cmp/cmp"
)

// TestWatched holds what a watcher is told, in which order.
func TestWatched(t *testing.T) {
	w := newWorld()
	w.fires = true
	d := &diary{}
	p, cases, err := w.verify(t, t.Context(), spec(t, "faults reset to :5432", "true"), d)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"Started", "Running no fault", "Result passed", "Running reset:at=request", "case", "ready", "fired", "command", "exited", "ended", "Result survived", "Ended"}
	if !slices.Equal(d.calls, want) {
		t.Errorf("told %v,\nwant %v", d.calls, want)
	}
	if a := d.attempts[1]; a.Nth != 1 || a.Stats().Rules[0].Faults[0].Fired != 1 || a.Plan == nil {
		t.Errorf("%+v", a)
	}
	if a := d.attempts[0]; a.Nth != 0 || a.Plan != nil || len(a.Stats().Rules) != 0 {
		t.Errorf("%+v", a)
	}
	begun, is := d.events[0].(event.Case)
	var data experiment.Spec
	if err := json.Unmarshal(begun.Spec, &data); !is || err != nil || begun.Case != "reset:at=request" ||
		begun.Repeat != "faultctl run reset --at request --to :5432 --every 2 --seed 42 -- true" || data.CommandLine() != begun.Repeat {
		t.Errorf("%+v, %v: %s", begun, err, data.CommandLine())
	}
	started := p.Started()
	if err := json.Unmarshal(started.Spec, &data); err != nil || data.Faults != nil || data.Target.Every != 2 || *data.Seed != 42 {
		t.Errorf("%s, %v", started.Spec, err)
	}
	started.Spec, started.Version = nil, ""
	if diff := cmp.Diff(event.VerifyStarted{
		Faults: []string{"reset:at=request"}, Seed: 42, NetNS: "self", Rules: []event.Rule{{To: []string{":5432"}, Faults: []string{"reset:at=request"}}},
		Command: []string{"true"}, To: []string{":5432"}, Runs: 1, Repeat: "faultctl verify --to :5432 --faults reset --seed 42 -- true",
	}, started); diff != "" {
		t.Error(diff)
	}
	if got, want := d.results[1].Event(), (event.VerifyResult{Case: "reset:at=request", Fault: "reset", Verdict: "survived", Exit: "exit 0", Took: "0s",
		Repeat: begun.Repeat}); !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	if got, want := Verified(cases), (event.Verified{Survived: 1, Healthy: true}); !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}

// TestEvidence holds what is left of it: each case with what was taken down, and
// the line that repeats the whole.
func TestEvidence(t *testing.T) {
	for words, want := range map[string]string{"": "passed, never fired", "allow-idle true": "passed, skipped"} {
		path := filepath.Join(t.TempDir(), "report.json")
		ev := open(t, path)
		w := newWorld()
		w.flows, w.chosen = 1, 1
		p, cases, err := w.leaving(t, t.Context(), spec(t, "faults refuse "+words, "true"), &diary{}, ev)
		if err != nil || verdicts(cases) != "passed, never fired" {
			t.Fatalf("%s, %v", verdicts(cases), err)
		}
		if lost := ev.Close(p.Code(cases), ""); lost != nil {
			t.Fatal(lost)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var r report.Report
		if err := json.Unmarshal(text, &r); err != nil {
			t.Fatal(err)
		}
		if verdicts(r.Cases) != want || r.Command != p.CommandLine() || r.Seed != 42 || len(r.Flaws) != 1 {
			t.Errorf("%s: %s", words, text)
		}
		if c := r.Cases[1]; len(c.Faults) != 1 || c.Faults[0].Chosen != 1 || len(c.Events) != 1 {
			t.Errorf("%s: %+v", words, c)
		}
	}
}

// TestOutputHeld holds that a process which keeps the command's output open, out
// of reach of its cage, is not waited for.
func TestOutputHeld(t *testing.T) {
	t.Parallel()
	o, err := newOutput(nil)
	if err != nil {
		t.Fatal(err)
	}
	held, err := os.OpenFile("/proc/self/fd/"+itoa(o.w.Fd()), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	o.w.WriteString("\x1b[1mthe\x1b[0m end\n")
	if got := o.lines(); got != "the end" {
		t.Errorf("%q", got)
	}
}

// TestLastLines holds how much of what was printed is kept.
func TestLastLines(t *testing.T) {
	o, err := newOutput(nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10000 {
		o.w.WriteString("this is the line " + itoa(uintptr(i)) + "\n")
	}
	lines := strings.Split(o.lines(), "\n")
	if len(lines) != keptLines || lines[0] != "this is the line 9980" || lines[19] != "this is the line 9999" {
		t.Errorf("%q", lines)
	}
}
