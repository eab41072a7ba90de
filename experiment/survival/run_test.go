package survival

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/faults"
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
