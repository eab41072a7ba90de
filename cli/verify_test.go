package cli

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
)

// healthyTimes is a command that exits with 1 from its nth run on.
func healthyTimes(t *testing.T, n string) []string {
	file := filepath.Join(t.TempDir(), "runs")
	return []string{"sh", "-c", `echo run >> "$1"; n=$(wc -l < "$1"); echo "this is run $n"; [ "$n" -lt ` + n + ` ]`, "test", file}
}

// TestVerifyStatus holds verify's exit codes.
func TestVerifyStatus(t *testing.T) {
	plan := filepath.Join(t.TempDir(), "plan")
	if err := os.WriteFile(plan, []byte("# mine\n\nreset:at=request # a comment\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, []byte("refuse\nidle-expier:after=1s\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	always := []string{"true"}
	for _, tc := range []struct {
		flags   string
		fired   bool
		command []string
		want    int
		says    string
	}{
		{"--faults reset", true, always, 0, "1 survived; everything"},
		{"--faults reset --repeat 3", true, healthyTimes(t, "99"), 0, "1 survived"},
		{"--plan " + plan, true, always, 0, "reset:at=request  survived"},
		{"--faults reset", true, healthyTimes(t, "2"), 3, "| this is run 2"},
		{"--faults reset --repeat 3", true, healthyTimes(t, "5"), 3, "| this is run 5"},
		{"--faults reset", true, []string{"false"}, 3, "without any fault"},
		{"--faults reset", false, always, 4, "0 survived, 1 never fired; everything"},
		{"--faults reset --allow-idle", false, always, 0, "1 never fired"},
		{"--faults reset --expect-fired", false, always, 4, "1 never fired"},
		{"--faults reset --expect-fired=false", false, always, 0, "1 never fired"},
		{"--faults reset --expect-fired=false", false, always, 0, "--allow-idle --seed 42 -- true"},
		{"--faults reset --timeout 0", true, always, 0, "time limit of each run: none"},
		{"--faults reset", true, []string{"/"}, 2, "chmod +x"},
		{"--faults refuse,reset --dry-run -o json", false, always, 0, `"event":"dry-run","case":"reset:at=request","faults":["reset:at=request"]}`},
		{"--faults reset", false, healthyTimes(t, "2"), 3, "although the fault never fired"},
		{"--faults rset", true, always, 2, `did you mean "reset"?`},
		{"--faults nope", true, always, 2, "There are reset, syn-drop, "},
		{"--faults reset:att=syn", true, always, 2, "faultctl faults reset explains every setting."},
		{"--faults idle-expire:after=0", true, always, 2, "--faults"},
		{"--faults reset --plan " + plan, true, always, 2, "give one"},
		{"--plan " + bad, true, always, 2, `line 2: unknown fault "idle-expier", did you mean "idle-expire"?`},
		{"--plan /nowhere", true, always, 2, "/nowhere"},
		{"--plan /dev/zero", true, always, 2, "that is no plan"},
		{"--plan /dev/null", true, always, 2, "no fault in it"},
		{"--faults reset --repeat 0", true, always, 2, "--repeat 0"},
		{"--faults reset --timeout 5", true, always, 2, "did you mean 5s?"},
		{"--faults reset", true, nil, 2, "faultctl verify -- go test"},
		{"true", true, always, 2, "put -- before the command"},
		{"reset:at=fin", true, always, 2, "--faults reset:at=fin"},
		{"--faults reset", true, []string{"no-such-command"}, 2, "not found"},
		{"reset", true, always, 2, "unexpected argument"},
		{"--cgroup /app", true, always, 2, "unknown flag --cgroup"},
	} {
		w := newWorld(t)
		w.timers = never
		if tc.fired {
			oneFired(w, "reset")
		}
		if got := w.runs(t, "verify "+tc.flags, tc.command...); got != tc.want || !strings.Contains(w.out.String()+w.err.String(), tc.says) {
			t.Errorf("%s -- %q, fired %v: exit %d, want %d and something about %q\n%s%s", tc.flags, tc.command, tc.fired, got, tc.want, tc.says, &w.out, &w.err)
		}
	}
}

// TestVerifyErrors holds that what keeps a fault from being tried is an error of
// faultctl's, not the command's.
func TestVerifyErrors(t *testing.T) {
	w := newWorld(t)
	w.session.err = injector.ErrPermission
	if code := w.runs(t, "verify --faults reset", "true"); code != exitPreflight || !strings.Contains(w.err.String(), "CAP_NET_ADMIN") {
		t.Errorf("exit %d\n%s", code, &w.err)
	}
}

// TestDefaultPlan holds that every reset cause is in the plan, with each of the
// settings that the catalogue has for it, and that bare names have the first ones.
func TestDefaultPlan(t *testing.T) {
	var want, got, bareNames, first []string
	for _, k := range faults.Catalog {
		if k.Group == "reset" {
			bareNames = append(bareNames, k.Name)
			first = append(first, k.VerifySpecs()[0].String())
			for range k.VerifySpecs() {
				want = append(want, k.Name)
			}
		}
	}
	w := newWorld(t)
	if code := w.runs(t, "verify --dry-run", "true"); code != exitOK {
		t.Fatalf("exit %d\n%s", code, &w.err)
	}
	for _, line := range strings.Fields(w.out.String()) {
		name, _, _ := strings.Cut(line, ":")
		got = append(got, name)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the plan has %v, the reset causes are %v", got, want)
	}
	bare := newWorld(t)
	bare.runs(t, "verify --dry-run --faults "+strings.Join(bareNames, ","), "true")
	if asked := strings.Fields(bare.out.String()); !slices.Equal(asked, first) {
		t.Errorf("bare names mean %v, the first of the plan are %v", asked, first)
	}
	both := newWorld(t)
	both.runs(t, "verify --dry-run --faults reset,reset --faults idle-expire:after=2s,then=silent", "true")
	if got, want := both.out.String(), "reset:at=request\nreset:at=request (2)\nidle-expire:after=2s,then=silent\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestVerifyPick holds that every second connection is struck unless a flag says
// otherwise, and the others where those never met the fault's moment.
func TestVerifyPick(t *testing.T) {
	for flags, want := range map[string][]target.Pick{
		"":                    {{Every: 2}, {Every: 2, Skip: 1}},
		"--every 1":           {{Every: 1}},
		"--percent 10":        {{Share: target.ShareOf(0.1)}},
		"--new-only":          {{Every: 2, NewOnly: true}, {Every: 2, Skip: 1, NewOnly: true}},
		"--first 3":           {{First: 3}},
		"--seed 7 --to :5432": {{Every: 2}, {Every: 2, Skip: 1}},
	} {
		w := newWorld(t)
		w.timers = never
		var got []target.Pick
		start := w.sys.Start
		w.sys.Start = func(ctx context.Context, cfg injector.Config) (experiment.Engine, error) {
			if cfg.Rules[0].Faults[0].Name != "observe" { // it watches the command that is left alone
				got = append(got, cfg.Rules[0].Pick)
			}
			return start(ctx, cfg)
		}
		w.session.stats = injector.Snapshot{Rules: []injector.RuleStats{{Flows: 2, Chosen: 1, Faults: []injector.FaultStats{{Name: "reset"}}}}}
		w.runs(t, "verify --faults reset "+flags, "true")
		if !slices.Equal(got, want) {
			t.Errorf("%s: picks %+v, want %+v", flags, got, want)
		}
	}
}

func TestVerifyText(t *testing.T) {
	w := newWorld(t)
	w.timers = never
	oneFired(w, "reset")
	w.runs(t, "verify --faults reset,refuse --to :5432", "sh", "-c", "echo hello")
	golden(t, "verify.txt", w.out.String())
	w = newWorld(t)
	w.timers = never
	oneFired(w, "reset")
	command := healthyTimes(t, "2")
	w.runs(t, "verify --faults reset,refuse --to :5432", command...)
	golden(t, "verify-failed.txt", strings.ReplaceAll(w.out.String(), command[4], "FILE"))
	w = newWorld(t)
	w.timers = never
	w.runs(t, "verify --faults idle-expire --to :5432", "true")
	golden(t, "verify-idle.txt", w.out.String())
}

func TestVerifyEvents(t *testing.T) {
	w := newWorld(t)
	w.timers = never
	oneFired(w, "reset")
	if code := w.runs(t, "verify --faults reset --to :5432 -o json", "true"); code != exitOK {
		t.Fatalf("exit %d\n%s", code, &w.err)
	}
	if first, _, _ := strings.Cut(w.out.String(), "\n"); !strings.Contains(first, `"netns":"self","rules":[{"to":[":5432"],"from":[],"faults":["reset:at=request"]}]`) {
		t.Errorf("started lacks what it has of a run: %s", first)
	}
	var events []string
	for _, line := range strings.Split(strings.TrimSpace(w.out.String()), "\n") {
		var ev struct{ Time, Event, Verdict string }
		if err := json.Unmarshal([]byte(line), &ev); err != nil || ev.Time == "" {
			t.Errorf("%s: %v", line, err)
		}
		events = append(events, strings.TrimSpace(ev.Event+" "+ev.Verdict))
	}
	for _, want := range []string{"started", "result passed", "result survived", "case", "ready", "fired", "ended", "verified"} {
		if !slices.Contains(events, want) {
			t.Errorf("no %q among %v", want, events)
		}
	}
}

// TestVerifyInterrupted holds that a signal ends it, the command with it, and
// that what was not tried is no pass.
func TestVerifyInterrupted(t *testing.T) {
	w := newWorld(t)
	w.timers = never
	oneFired(w, "reset")
	w.session.played = func() { w.signal <- syscall.SIGINT }
	code := w.runs(t, "verify --faults reset,refuse", "sh", "-c", `[ -e "$0" ] && exec sleep 60; : > "$0"`, filepath.Join(t.TempDir(), "ran"))
	if code != 130 || !strings.Contains(w.out.String(), "0 survived, 2 skipped") {
		t.Errorf("exit %d\n%s", code, &w.out)
	}
}
