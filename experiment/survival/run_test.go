package survival

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/google/go-cmp/cmp"
)

// TestVerdicts holds what becomes of cases, and the exit code that follows.
func TestVerdicts(t *testing.T) {
	plan := filepath.Join(t.TempDir(), "plan")
	if err := os.WriteFile(plan, []byte("# mine\n\nreset:at=request # a comment\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	always := []string{"true"}
	for _, tc := range []struct {
		words   string
		fires   bool
		command []string
		want    string
		code    event.Code
		reason  string // of the last case
		output  string // likewise
	}{
		{"faults reset", true, always, "passed, survived", 0, "", ""},
		{"faults reset repeat 3", true, failsFrom(t, "99"), "passed, survived", 0, "", ""},
		{"plan " + plan, true, always, "passed, survived", 0, "", ""},
		{"faults reset", true, failsFrom(t, "2"), "passed, failed", 3, "The command failed: exit 1.", "this is run 2"},
		{"faults reset repeat 3", true, failsFrom(t, "5"), "passed, failed", 3, "The command failed: exit 1.", "this is run 5"},
		{"faults reset,refuse", true, []string{"false"}, "failed, skipped, skipped", 3, "the command fails without a fault", ""},
		{"faults reset", false, always, "passed, never fired", 4, "reset: there was not one of the TCP connections of the command.", ""},
		{"faults reset allow-idle true", false, always, "passed, never fired", 0, "reset: there was not one of the TCP connections of the command.", ""},
		{"faults reset expect-fired true", false, always, "passed, never fired", 4, "reset: there was not one of the TCP connections of the command.", ""},
		{"faults reset", false, failsFrom(t, "2"), "passed, failed", 3,
			"The command failed although the fault never fired: exit 1. Does it fail now and then by itself?", "this is run 2"},
	} {
		w := newWorld()
		w.fires = tc.fires
		p, cases, err := w.verify(t, t.Context(), spec(t, tc.words, tc.command...), &diary{})
		if err != nil {
			t.Errorf("%s: %v", tc.words, err)
			continue
		}
		last := cases[len(cases)-1]
		if verdicts(cases) != tc.want || p.Code(cases) != tc.code || last.Reason != tc.reason || last.Output != tc.output {
			t.Errorf("%s, fires %v: %s, code %d, %q, %q; want %s, %d, %q, %q", tc.words, tc.fires, verdicts(cases), p.Code(cases), last.Reason, last.Output,
				tc.want, tc.code, tc.reason, tc.output)
		}
	}
}

// TestOptional holds that a case which the default plan has, and few commands bring
// about, need not teach anything, while one that was asked for must.
func TestOptional(t *testing.T) {
	asked := DefaultCases()[1]
	if !asked.Optional || asked.Name() != "reset:at=ready" || DefaultCases()[0].Optional {
		t.Fatalf("%+v", DefaultCases()[:2])
	}
	for _, tc := range []struct {
		optional bool
		code     event.Code
		says     string
	}{
		{true, event.CodeOK, "It does not count against the command"},
		{false, event.CodeNeverFired, ""},
	} {
		w := newWorld()
		s := spec(t, "", "true")
		asked.Optional = tc.optional
		s.Cases = []Case{asked}
		p, cases, err := w.verify(t, t.Context(), s, &diary{})
		if err != nil || p.Code(cases) != tc.code || cases[1].Verdict != report.NeverFired || !strings.Contains(cases[1].Reason, tc.says) || cases[1].MayIdle != tc.optional {
			t.Errorf("%+v: %+v, %v, code %d", tc, cases, err, p.Code(cases))
		}
	}
}

// TestHealthyFails holds what is said of a command that fails untouched.
func TestHealthyFails(t *testing.T) {
	w := newWorld()
	_, cases, err := w.verify(t, t.Context(), spec(t, "faults reset", "sh", "-c", "echo no >&2; exit 7"), &diary{})
	c := cases[0]
	if err != nil || c.Name != NoFault || !c.Base || c.Exit != "exit 7" || c.Output != "no" || c.Reason != "The command fails without any fault, so nothing can be said: exit 7." {
		t.Errorf("%+v, %v", c, err)
	}
	if len(w.started) > 0 {
		t.Error("faults were started")
	}
}

// TestFailure holds all that is said of a case that failed.
func TestFailure(t *testing.T) {
	w := newWorld()
	w.fires = true
	d := &diary{}
	command := failsFrom(t, "2")
	p, cases, err := w.verify(t, t.Context(), spec(t, "faults reset,refuse to :5432", command...), d)
	if err != nil {
		t.Fatal(err)
	}
	kind, _ := faults.Find("refuse")
	want := report.Case{
		Name: "refuse", Fault: "refuse", Target: "connections to :5432 of the command", Verdict: report.Failed, Reason: "The command failed: exit 1.",
		Remedy: kind.Remedy, Start: noon, Exit: "exit 1", Output: "this is run 3",
	}
	if diff := cmp.Diff(want, cases[2]); diff != "" {
		t.Error(diff)
	}
	quoted := `-- sh -c 'echo run >> "$1"; n=$(wc -l < "$1"); echo "this is run $n"; [ "$n" -lt 2 ]' test ` + command[4]
	if got, want := d.results[1].Repeat, "faultctl run reset --at request --to :5432 --every 2 --seed 42 "+quoted; got != want {
		t.Errorf("alone: %s\nwant   %s", got, want)
	}
	if got, want := p.CommandLine(), "faultctl verify --to :5432 --faults reset,refuse --seed 42 "+quoted; got != want {
		t.Errorf("repeat: %s\nwant    %s", got, want)
	}
	if d.results[0].Repeat != "" || d.results[1].Stats.Rules[0].Flows != 2 {
		t.Errorf("%+v", d.results)
	}
}

// TestPick holds that every second connection is struck unless the target says
// otherwise, and the others where those never met the fault's moment.
func TestPick(t *testing.T) {
	second := []target.Pick{{Every: 2}, {Every: 2, Skip: 1}}
	for words, want := range map[string][]target.Pick{
		"":                  second,
		"every 1":           {{Every: 1}},
		"percent 10":        {{Share: target.ShareOf(0.1)}},
		"new-only true":     {{Every: 2, NewOnly: true}, {Every: 2, Skip: 1, NewOnly: true}},
		"first 3":           {{First: 3}},
		"seed 7 to :5432":   second,
		"max-connections 1": {{Max: 1}},
	} {
		w := newWorld()
		w.flows, w.chosen = 2, 1
		d := &diary{}
		_, cases, err := w.verify(t, t.Context(), spec(t, "faults reset "+words, "true"), d)
		if err != nil {
			t.Fatal(err)
		}
		var got []target.Pick
		for _, cfg := range w.started {
			got = append(got, cfg.Rules[0].Pick)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: picks %+v, want %+v", words, got, want)
		}
		if again := strings.Contains(d.results[1].Repeat, "--every 2 --skip 1"); again != (len(want) > 1) {
			t.Errorf("%s: alone is %s", words, d.results[1].Repeat)
		}
		if why := cases[1].Reason; why != "reset: the moment that it waits for did not come on the chosen connections. faultctl faults reset says which one that is." {
			t.Errorf("%s: %s", words, why)
		}
	}
}

// TestNoSecondAttempt holds when the other connections are left alone.
func TestNoSecondAttempt(t *testing.T) {
	for name, set := range map[string]func(*world){
		"it fired":           func(w *world) { w.fires = true },
		"none was spared":    func(w *world) { w.flows, w.chosen = 1, 1 },
		"there was none":     func(*world) {},
		"the command failed": func(w *world) { w.flows, w.chosen = 2, 1 },
	} {
		w := newWorld()
		set(w)
		command := []string{"true"}
		if strings.Contains(name, "failed") {
			command = failsFrom(t, "2")
		}
		if _, _, err := w.verify(t, t.Context(), spec(t, "faults reset", command...), &diary{}); err != nil {
			t.Fatal(err)
		}
		if len(w.started) != 1 {
			t.Errorf("%s: %d attempts", name, len(w.started))
		}
	}
}

// TestMoments holds that a fault which stayed idle says how to bring it about, if
// connections were chosen.
func TestMoments(t *testing.T) {
	w := newWorld()
	w.flows, w.chosen = 1, 1
	_, cases, err := w.verify(t, t.Context(), spec(t, "faults keepalive-drop", "true"), &diary{})
	if err != nil || !strings.HasSuffix(cases[1].Reason, "says which one that is. "+momentOf([]faults.Spec{{Name: "keepalive-drop"}}, "keepalive-drop")) {
		t.Errorf("%q, %v", cases[1].Reason, err)
	}
}

// TestMomentOf holds that each case of a fault has its own hint.
func TestMomentOf(t *testing.T) {
	for text, want := range map[string]string{"reset:at=request": "", "reset:at=fin": "", "reset:at=ready": "50ms", "idle-expire:after=2s": "idle for longer"} {
		cases, err := ParseCases(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := momentOf(cases[0].Faults, cases[0].Faults[0].Name); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want something with %q", text, got, want)
		}
	}
}

// TestRepeat holds that a fault which was felt in one of several runs counts as one
// that did, and that this is said.
func TestRepeat(t *testing.T) {
	w := newWorld()
	w.begun = func() { w.fires = true } // from the second on
	_, cases, err := w.verify(t, t.Context(), spec(t, "faults reset repeat 3", "true"), &diary{})
	if err != nil || verdicts(cases) != "passed, survived" || cases[1].Reason != "The fault was felt in 2 of 3 runs." {
		t.Errorf("%+v, %v", cases, err)
	}
	if len(w.cages) != 6 {
		t.Errorf("%d cages", len(w.cages))
	}
}

// TestLimits holds how long each run may take.
func TestLimits(t *testing.T) {
	for words, want := range map[string][]time.Duration{
		"":            {0, 30 * time.Second},
		"timeout 0":   {0, 0},
		"timeout 90s": {90 * time.Second, 90 * time.Second},
	} {
		w := newWorld()
		d := &diary{}
		if _, _, err := w.verify(t, t.Context(), spec(t, "faults reset "+words, "true"), d); err != nil {
			t.Fatal(err)
		}
		if got := []time.Duration{d.attempts[0].Limit, d.attempts[1].Limit}; !slices.Equal(got, want) {
			t.Errorf("%s: limits %v, want %v", words, got, want)
		}
		for _, l := range want {
			if l > 0 && !slices.Contains(w.limits, l) {
				t.Errorf("%s: %v was not waited for", words, l)
			}
		}
	}
	if got := foundLimit(3040 * time.Millisecond); got != 30*time.Second {
		t.Errorf("after 3.04 s: %v", got)
	}
	if got := foundLimit(4560 * time.Millisecond); got != 46*time.Second {
		t.Errorf("after 4.56 s: %v", got)
	}
	w := newWorld()
	w.fires = true
	w.over[time.Minute] = struct{}{}
	_, cases, err := w.verify(t, t.Context(), spec(t, "faults reset timeout 1m", "sleep", "60"), &diary{})
	if err != nil || cases[0].Exit != "stopped after 1m" {
		t.Errorf("%+v, %v", cases[0], err)
	}
}

// TestLimitText holds the words for each limit.
func TestLimitText(t *testing.T) {
	for words, want := range map[string]string{
		"":           "ten times the healthy run, at least 30s",
		"timeout 0":  "none",
		"timeout 2m": "2m",
	} {
		p, err := NewPlan(t.Context(), newWorld().System, spec(t, words, "true"))
		if err != nil {
			t.Fatal(err)
		}
		if got := p.LimitText(); got != want {
			t.Errorf("%s: %s, want %s", words, got, want)
		}
	}
}

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

// TestBroken holds that what keeps a fault from being tried is an error of
// faultctl's, not the command's, and that nothing is tried after it.
func TestBroken(t *testing.T) {
	w := newWorld()
	w.refuses = injector.ErrPermission
	d := &diary{}
	_, cases, err := w.verify(t, t.Context(), spec(t, "faults reset,refuse", "true"), d)
	if !errors.Is(err, injector.ErrPermission) || experiment.CodeOf(err) != event.CodePreflight || verdicts(cases) != "passed, error, skipped" {
		t.Errorf("%v, %s", err, verdicts(cases))
	}
	if cases[1].Reason != err.Error() || cases[2].Reason != "faultctl failed before" || d.calls[len(d.calls)-1] != "Ended" {
		t.Errorf("%+v\n%v", cases, d.calls)
	}
	w = newWorld()
	w.MakeCage = func(*os.File) (place.Cage, error) { return nil, injector.ErrPermission }
	d = &diary{}
	if _, cases, err = w.verify(t, t.Context(), spec(t, "faults reset", "true"), d); cases != nil || experiment.CodeOf(err) != event.CodePreflight ||
		!strings.Contains(experiment.AdviceOf(err), "--isolate") || slices.Contains(d.calls, "Ended") {
		t.Errorf("%v, %v, %v", cases, err, d.calls)
	}
}

// TestNotFound holds that a command that cannot be run is a mistake in usage, and
// found before anything is told.
func TestNotFound(t *testing.T) {
	for command, says := range map[string]string{"no-such-command": "verify: no-such-command: command not found", "/": "verify: / cannot be executed"} {
		d := &diary{}
		_, _, err := newWorld().verify(t, t.Context(), spec(t, "faults reset", command), d)
		if experiment.CodeOf(err) != event.CodeUsage || err.Error() != says || len(d.calls) > 0 {
			t.Errorf("%v, %v", err, d.calls)
		}
		if command == "/" && !strings.Contains(experiment.AdviceOf(err), "chmod +x") {
			t.Errorf("advice %q", experiment.AdviceOf(err))
		}
	}
}

// TestInterrupted holds that the end of the context ends the command, and that
// what was not tried is no pass.
func TestInterrupted(t *testing.T) {
	w := newWorld()
	w.fires = true
	ctx, cancel := context.WithCancel(t.Context())
	w.begun = cancel
	command := []string{"sh", "-c", `[ -e "$0" ] && exec sleep 60; : > "$0"`, filepath.Join(t.TempDir(), "ran")}
	_, cases, err := w.verify(t, ctx, spec(t, "faults reset,refuse", command...), &diary{})
	if err != nil || verdicts(cases) != "passed, skipped, skipped" || cases[1].Reason != "interrupted" || cases[2].Reason != "interrupted" {
		t.Errorf("%+v, %v", cases, err)
	}
	if got, want := Verified(cases), (event.Verified{Skipped: 2, Healthy: true}); !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	ctx, cancel = context.WithCancel(t.Context())
	d := &diary{on: func(string) { cancel() }} // at the very beginning
	_, cases, err = newWorld().verify(t, ctx, spec(t, "faults reset", "sleep", "60"), d)
	if err != nil || verdicts(cases) != "skipped, skipped" {
		t.Errorf("%+v, %v", cases, err)
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
