package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/experiment/scenario"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/injector"
	"github.com/google/go-cmp/cmp"
)

func TestScenarioTimeline(t *testing.T) {
	withFakeClock(t, func(t *testing.T, w *fakeClockWorld) {
		code := w.play(t, `
target: {to: ":5432"}
duration: 10s
faults:
  - {fault: reset, start: 1s, duration: 7s, pulse: {on: 2s, off: 3s}, target: {max-connections: 2}}
  - {name: slow, fault: "delay:by=5ms", start: 3s, ramp: {from: 10, to: 30, over: 4s, steps: 2}}
`)
		if code != exitOK {
			t.Errorf("exit %d\n%s%s", code, &w.out, &w.err)
		}
		want := strings.Split(strings.TrimSpace(`
1s start reset max 2
3s stop reset
3s start delay 10%
5s share delay 20%
6s start reset max 1 seed 43
7s share delay 30%
8s stop reset
10s stop delay`), "\n")
		if d := cmp.Diff(want, w.log); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	})
}

const oneFault = "faults: [{fault: reset, duration: 10s, target: {to: ':5432'}}]\n"

func TestScenarioOutcomes(t *testing.T) {
	broken := errors.New("status 503, want 200-299")
	from := func(at, to time.Duration) func(string, time.Duration) error {
		return func(_ string, now time.Duration) error {
			if now >= at && now < to {
				return broken
			}
			return nil
		}
	}
	always := from(0, time.Hour)
	const probe = oneFault + "probes: [{name: web, http: http://web/, interval: 1s}]\n"
	for name, tc := range map[string]struct {
		file, flags string
		fails       func(string, time.Duration) error
		fires       uint64
		code        int
		says        string
		log         string
		took        time.Duration
	}{
		"all is well":            {probe, "", nil, 1, 0, "it held: every fault fired, and every probe passed", "0s start reset; 10s stop reset", 10 * time.Second},
		"not steady":             {probe, "", always, 1, 3, "nothing was touched", "", 0},
		"fails during":           {probe, "", from(3*time.Second, 4*time.Second), 1, 3, "web failed 1 of 10 times during the timeline, and 0 is tolerated", "0s start reset; 10s stop reset", 10 * time.Second},
		"within tolerance":       {strings.Replace(probe, "interval: 1s", "interval: 1s, tolerance: 10%", 1), "", from(3*time.Second, 4*time.Second), 1, 0, "9 of 10 passed", "0s start reset; 10s stop reset", 10 * time.Second},
		"recovers in time":       {strings.Replace(probe, "interval: 1s", "interval: 1s, when: [after], recovery: 3s", 1), "", from(0, 13*time.Second), 1, 0, "passed in 3s", "0s start reset; 10s stop reset", 13 * time.Second},
		"recovers late":          {strings.Replace(probe, "interval: 1s", "interval: 1s, when: [after], recovery: 3s", 1), "", from(0, 14*time.Second), 1, 3, "web has not recovered within 3s: status 503", "0s start reset; 10s stop reset", 13 * time.Second},
		"aborted by number":      {probe + "abort: [{probe: web, failures: 2}]\n", "", from(2*time.Second, 5*time.Second), 1, 3, "aborted: the probe web: it failed 2 times in a row", "0s start reset; 3s stop reset", 5 * time.Second},
		"aborted by time":        {probe + "abort: [{probe: web, failing-for: 3s}]\n", "", from(2*time.Second, 6*time.Second), 1, 3, "aborted: the probe web: it has not passed for 3s", "0s start reset; 5s stop reset", 6 * time.Second},
		"never fired":            {oneFault, "", nil, 0, 4, "reset never fired: no packet belonged to connections to :5432", "0s start reset; 10s stop reset", 10 * time.Second},
		"fired too seldom":       {strings.Replace(oneFault, "fault:", "must-fire: 3, fault:", 1), "", nil, 2, 4, "reset fired on 2 connections, and must on 3", "0s start reset; 10s stop reset", 10 * time.Second},
		"need not fire":          {strings.Replace(oneFault, "fault:", "must-fire: false, fault:", 1), "", nil, 0, 0, "no fault fired, and none had to", "0s start reset; 10s stop reset", 10 * time.Second},
		"idle is allowed":        {oneFault, "--allow-idle", nil, 0, 0, "no fault fired, and none had to", "0s start reset; 10s stop reset", 10 * time.Second},
		"a failed probe is more": {probe, "", from(3*time.Second, 4*time.Second), 0, 3, "web failed 1 of 10", "0s start reset; 10s stop reset", 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			withFakeClock(t, func(t *testing.T, w *fakeClockWorld) {
				w.fails, w.fires = tc.fails, tc.fires
				code := w.play(t, tc.file, strings.Fields(tc.flags)...)
				if said := strings.Join(strings.Fields(w.out.String()+w.err.String()), " "); code != tc.code || !strings.Contains(said, tc.says) {
					t.Errorf("exit %d, want %d and something about %q:\n%s%s", code, tc.code, tc.says, &w.out, &w.err)
				}
				if got := strings.Join(w.log, "; "); got != tc.log {
					t.Errorf("%s, want %s", got, tc.log)
				}
				if took := time.Since(w.began); took != tc.took {
					t.Errorf("it took %v, want %v", took, tc.took)
				}
			})
		})
	}
}

// Whatever hangs, the deadline ends it; and what does not end by that, ends
// with the process.
func TestScenarioDeadline(t *testing.T) {
	withFakeClock(t, func(t *testing.T, w *fakeClockWorld) {
		w.ask = func(ctx context.Context, _ *scenario.Probe) error {
			<-ctx.Done()
			return ctx.Err()
		}
		code := w.play(t, oneFault+"probes: [{name: web, http: http://web/}]\ndeadline: 20s\n")
		if took := time.Since(w.began); code != exitFailure || took != 20*time.Second || w.log != nil {
			t.Errorf("exit %d after %v, %v", code, took, w.log)
		}
		if !strings.Contains(w.out.String(), "the deadline of 20s came before the end") {
			t.Errorf("it does not say so:\n%s", &w.out)
		}
	})
	withFakeClock(t, func(t *testing.T, w *fakeClockWorld) {
		stuck := make(chan struct{})
		w.run = func(_ context.Context, ready func()) error { ready(); <-stuck; return nil }
		w.exit = func(code int) {
			w.note("exit %d", code)
			close(stuck)
		}
		w.play(t, oneFault+"deadline: 20s\n")
		if d := cmp.Diff([]string{"25s exit 1"}, w.log); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	})
}

func TestScenarioSignal(t *testing.T) {
	withFakeClock(t, func(t *testing.T, w *fakeClockWorld) {
		w.signals = func() (<-chan os.Signal, func()) {
			c := make(chan os.Signal, 1)
			time.AfterFunc(4*time.Second, func() { c <- syscall.SIGINT })
			return c, func() {}
		}
		code := w.play(t, oneFault+"probes: [{name: web, http: http://web/}]\n")
		if code != 130 || strings.Join(w.log, "; ") != "0s start reset; 4s stop reset" || time.Since(w.began) != 4*time.Second {
			t.Errorf("exit %d, %v", code, w.log)
		}
	})
}

// An injector that cannot begin ends the scenario with its own exit code.
func TestScenarioBreaks(t *testing.T) {
	withFakeClock(t, func(t *testing.T, w *fakeClockWorld) {
		w.run = func(context.Context, func()) error { return fmt.Errorf("open nftables: %w", injector.ErrPermission) }
		if code := w.play(t, oneFault, "-o", "json"); code != exitPreflight || !strings.Contains(w.err.String(), "reset: open nftables") {
			t.Errorf("exit %d\n%s", code, &w.err)
		}
		if !strings.Contains(w.out.String(), `"event":"error","code":5`) {
			t.Errorf("no error event:\n%s", &w.out)
		}
	})
}

// What a fault will lack is said before anything is asked or touched, however
// late it begins.
func TestScenarioPreflight(t *testing.T) {
	withFakeClock(t, func(t *testing.T, w *fakeClockWorld) {
		w.preflightErr = fmt.Errorf("create an nftables table: %w", injector.ErrPermission)
		w.ask = func(context.Context, *scenario.Probe) error { t.Error("a probe was asked"); return nil }
		code := w.play(t, strings.Replace(oneFault, "fault:", "start: 5m, fault:", 1)+"probes: [{name: web, http: http://web/}]\n")
		if code != exitPreflight || !strings.Contains(w.err.String(), "reset: create an nftables table") || w.log != nil || w.out.Len() > 0 {
			t.Errorf("exit %d, %v\n%s%s", code, w.log, &w.out, &w.err)
		}
	})
}

// The rails of inject hold here too, and the environment's targets do not.
func TestScenarioRails(t *testing.T) {
	for _, tc := range []struct {
		env, value, file, flags string
		code                    int
		says                    string
	}{
		{"FAULTCTL_REQUIRE_TARGET", "1", "faults: [{fault: reset, duration: 1s}]\n", "", 6, "day.yaml:1:18: faults[0].fault: no target, and FAULTCTL_REQUIRE_TARGET=1 demands one"},
		{"FAULTCTL_REQUIRE_TARGET", "1", oneFault, "", 0, ""},
		{"FAULTCTL_TO", ":99999", oneFault, "", 0, ""},
		{"FAULTCTL_TO", ":80", "faults: [{fault: reset, duration: 1s}]\n", "", 0, "every TCP connection of this network namespace"},
		{"SSH_CONNECTION", "10.0.0.9 40000 10.0.0.1 22", "faults: [{fault: reset, duration: 1s, target: {to: '10.0.0.1:22', from: 10.0.0.9}}]\n", "", 6, "which is protected"},
		{"SSH_CONNECTION", "10.0.0.9 40000 10.0.0.1 22", "faults: [{fault: reset, duration: 1s, target: {to: ':22'}}]\n", "", 0, "protected: 10.0.0.9:40000 and 10.0.0.1:22"},
		{"", "", "faults: [{fault: reset, duration: 1s, target: {to: 'gone.internal:22'}}]\n", "", 2, "day.yaml:1:52: faults[0].target.to: gone.internal:22: look up the host name"},
		{"", "", "faults: [{fault: reset, duration: 1s, target: {netns: nope}}]\n", "", 2, "day.yaml:1:55: faults[0].target.netns: nope: no such network namespace"},
		{"", "", oneFault, "--seed x", 2, "--seed x: not a whole number"},
		{"", "", oneFault, "--sed 3", 2, `scenario run: unknown flag --sed, did you mean "seed"?`},
		{"", "", oneFault, "other.yaml", 2, `unexpected argument "other.yaml"`},
	} {
		withFakeClock(t, func(t *testing.T, w *fakeClockWorld) {
			if tc.env != "" {
				t.Setenv(tc.env, tc.value)
			}
			code := w.play(t, tc.file, strings.Fields(tc.flags)...)
			if said := strings.Join(strings.Fields(w.out.String()+w.err.String()), " "); code != tc.code || !strings.Contains(said, tc.says) {
				t.Errorf("%+v: exit %d\n%s%s", tc, code, &w.out, &w.err)
			}
			if code != 0 && w.log != nil {
				t.Errorf("%+v: something was started: %v", tc, w.log)
			}
		})
	}
}

const goldenDay = `
name: golden
description: A fault that comes and goes while one probe watches.
seed: 7
target: {to: ":5432"}
duration: 6s
faults:
  - {name: cut, fault: "reset:hit=client", start: 1s, duration: 4s, pulse: {on: 1s, off: 2s}}
  - {fault: {delay: {by: 5ms}}, start: 2s, ramp: {to: 50, over: 2500ms, steps: 1}, must-fire: false}
probes:
  - {name: web, http: http://web/, interval: 1700ms, tolerance: 1, when: [before, during]}
  - {name: port, tcp: "127.0.0.1:1", when: [after]}
`

// Counters of several runs add up, every one of them.
func TestAdded(t *testing.T) {
	s := injector.Snapshot{Rules: []injector.RuleStats{{Faults: []injector.FaultStats{{Name: "reset"}}}}}
	setAll(t, &s, 1)
	twice := s
	twice.Rules = []injector.RuleStats{{Faults: []injector.FaultStats{{Name: "reset"}}}}
	setAll(t, &twice, 2)
	twice.Latency.Max = s.Latency.Max // the longest of both
	if d := cmp.Diff(twice, s.Plus(s)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if d := cmp.Diff(s, injector.Snapshot{}.Plus(s)); d != "" {
		t.Errorf("to nothing (-want +got):\n%s", d)
	}
}

// setAll gives every counter of a snapshot a value.
func setAll(t *testing.T, v any, n uint64) {
	t.Helper()
	var walk func(reflect.Value)
	walk = func(v reflect.Value) {
		if kind := v.Type(); kind == reflect.TypeFor[outcome.Outcome]() || kind == reflect.TypeFor[outcome.Prevention]() {
			return // no counters: the one that got furthest, or was nearest, stays
		}
		switch v.Kind() {
		case reflect.Pointer:
			walk(v.Elem())
		case reflect.Struct:
			switch v.Interface().(type) {
			case outcome.Outcome, outcome.Prevention:
				return // the further one, and the longest: no counters
			}
			for i := range v.NumField() {
				walk(v.Field(i))
			}
		case reflect.Slice:
			for i := range v.Len() {
				walk(v.Index(i))
			}
		case reflect.Uint64:
			v.SetUint(n)
		case reflect.Int64: // the sum of a histogram
			v.SetInt(int64(n))
		case reflect.String:
		default:
			t.Fatalf("a counter of the kind %v: say here and in added what to do with it", v.Kind())
		}
	}
	walk(reflect.ValueOf(v))
}

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
