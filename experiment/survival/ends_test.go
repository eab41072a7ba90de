package survival

import (
	"context"
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
	"github.com/faultctl/faultctl/injector"
	"github.com/google/go-cmp/cmp"
)

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
