package survival

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/cage"
)

// fourCases are cases whose faults the world tells apart.
const fourCases = "faults reset,refuse,half-open,syn-drop"

// gate is a command that ends when the file go is in the directory, and tells by a
// file of its own that it runs.
func gate(dir string) []string {
	return []string{"sh", "-c", `: > "$0/$$"; until [ -e "$0/go" ]; do sleep 0.01; done`, dir}
}

// waitForFiles waits until there are so many files in a directory.
func waitForFiles(t *testing.T, dir string, n int) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		files, err := os.ReadDir(dir)
		switch {
		case err != nil:
			t.Error(err)
			return
		case len(files) >= n:
			return
		case time.Now().After(end):
			t.Errorf("%d files after 20 s, want %d", len(files), n)
			return
		}
	}
}

// TestJobs holds that so many cases run at the same time, and no more, after as many
// runs without a fault, and that what is told of them has the order of the plan.
func TestJobs(t *testing.T) {
	dir := t.TempDir()
	w := newWorld()
	w.fires = true
	d := &diary{}
	var begun sync.WaitGroup
	begun.Go(func() {
		waitForFiles(t, dir, 3) // the runs without a fault, side by side
		if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o644); err != nil {
			t.Error(err)
		}
	})
	p, cases, err := w.verify(t, t.Context(), spec(t, fourCases+" jobs 3", gate(dir)...), d)
	begun.Wait()
	if err != nil || verdicts(cases) != "passed, survived, survived, survived, survived" || w.most != 3 {
		t.Fatalf("%s, %v; %d at the same time", verdicts(cases), err, w.most)
	}
	if len(w.cages) != 1+3+4 { // the first finds out whether cages keep commands apart
		t.Errorf("%d cages", len(w.cages))
	}
	if !strings.Contains(p.CommandLine(), " --jobs 3 ") {
		t.Error(p.CommandLine())
	}
	var told []string
	for _, r := range d.results {
		told = append(told, r.Name)
	}
	if want := append([]string{NoFault}, p.Names()...); !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
	at := ""
	for _, e := range d.events {
		if c, is := e.(event.Case); is {
			at = c.Case
		}
		if f, is := e.(event.Fired); is && !strings.HasPrefix(at, f.Fault) {
			t.Errorf("%s fired in the turn of %s", f.Fault, at)
		}
	}
	calls := slices.DeleteFunc(slices.Clone(d.calls), func(call string) bool { return strings.HasPrefix(call, "Running") })
	want := []string{"Started", "Result passed"}
	for range 4 {
		want = append(want, "case", "ready", "fired", "command", "exited", "ended", "Result survived")
	}
	if want = append(want, "Ended"); !slices.Equal(calls, want) {
		t.Errorf("told %v,\nwant %v", calls, want)
	}
}

// TestJobsShared holds that cases are tried one at a time if the command fails beside
// itself and not alone, or cages do not keep its runs apart, and that this is said.
func TestJobsShared(t *testing.T) {
	lock := filepath.Join(t.TempDir(), "lock")
	alone := []string{"sh", "-c", `mkdir "$0" || exit 7; sleep 0.3; rmdir "$0"`, lock}
	w := newWorld()
	w.fires = true
	_, cases, err := w.verify(t, t.Context(), spec(t, fourCases+" jobs 3", alone...), &diary{})
	if err != nil || verdicts(cases) != "passed, survived, survived, survived, survived" {
		t.Fatalf("%s, %v", verdicts(cases), err)
	}
	if c := cases[0]; !strings.Contains(c.Reason, "fails (exit 7) when 3 run side by side") || !strings.Contains(c.Output, "lock") {
		t.Errorf("%+v", c)
	}
	w = newWorld()
	w.fires = true
	w.MakeCage = func(*os.File) (cage.Cage, error) { return wideCage{&openCage{w: w}}, nil }
	_, cases, err = w.verify(t, t.Context(), spec(t, "faults reset,refuse jobs 2", "sh", "-c", "sleep 0.05"), &diary{})
	if err != nil || verdicts(cases) != "passed, survived, survived" || w.most != 1 || !strings.Contains(cases[0].Reason, "cannot be told apart") {
		t.Errorf("%+v, %v, %d at the same time", cases, err, w.most)
	}
	w = newWorld()
	_, cases, err = w.verify(t, t.Context(), spec(t, "faults reset,refuse jobs 2", "false"), &diary{})
	if err != nil || verdicts(cases) != "failed, skipped, skipped" {
		t.Errorf("%+v, %v", cases, err)
	}
}

// wideCage keeps nothing apart.
type wideCage struct{ *openCage }

func (wideCage) Owner() target.Owner { return target.Owner{} }

// TestJobsBroken holds that what cannot be tried keeps the rest from being tried,
// and that those under way are told all the same.
func TestJobsBroken(t *testing.T) {
	w := newWorld()
	w.refuses = injector.ErrPermission
	d := &diary{}
	_, cases, err := w.verify(t, t.Context(), spec(t, "faults reset,refuse,half-open jobs 2", "true"), d)
	if !errors.Is(err, injector.ErrPermission) || cases[1].Verdict != report.Broken || len(d.results) != 4 {
		t.Errorf("%s, %v, %d results", verdicts(cases), err, len(d.results))
	}
	ctx, cancel := context.WithCancel(t.Context())
	w = newWorld()
	w.fires = true
	w.begun = cancel
	if _, cases, err = w.verify(t, ctx, spec(t, fourCases+" jobs 2", "true"), &diary{}); err != nil || !strings.HasPrefix(verdicts(cases), "passed, skipped, skipped, skipped") {
		t.Errorf("%s, %v", verdicts(cases), err)
	}
}

// TestJobsWrong holds which numbers are refused.
func TestJobsWrong(t *testing.T) {
	for _, n := range []string{"0", "-1", "65", "four", "1.5"} {
		var s Spec
		if err := s.Set("jobs", n); experiment.CodeOf(err) != event.CodeUsage {
			t.Errorf("%s: %v", n, err)
		}
	}
	s := Spec{Base: experiment.Spec{Command: []string{"true"}}, Jobs: 65}
	if s.Validate() == nil {
		t.Error("65 jobs are fine")
	}
}

// TestOrder holds in which order things are told, and that events of a case which
// waits are limited.
func TestOrder(t *testing.T) {
	d := &diary{}
	o := newOrder(d)
	say := func(nth int, what string) { o.event(nth, noon, event.Target{Says: what}) }
	say(1, "1a")
	say(0, "0a")
	for range heldEvents + 5 {
		say(2, "2")
	}
	o.end(1, noon, func() { d.note("end 1") })
	say(0, "0b")
	o.end(0, noon, func() { d.note("end 0") })
	if want := []string{"target", "target", "end 0", "target", "end 1"}; !slices.Equal(d.calls[:5], want) {
		t.Errorf("%v", d.calls[:5])
	}
	for i, want := range []string{"0a", "0b", "1a", "2"} {
		if got := d.events[i].(event.Target).Says; got != want {
			t.Errorf("event %d is %s, want %s", i, got, want)
		}
	}
	o.end(2, noon, func() { d.note("end 2") })
	if last := d.events[len(d.events)-1]; len(d.events) != 3+heldEvents+1 || fmt.Sprint(last) != fmt.Sprint(event.Lost{Events: 5}) {
		t.Errorf("%d events, the last %+v", len(d.events), last)
	}
}
