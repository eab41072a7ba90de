package scenario

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/document"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/goldentest"
	"github.com/faultctl/faultctl/internal/version"
	"github.com/google/go-cmp/cmp"
)

const twoFaults = `
target: {to: ":5432"}
duration: 10s
faults:
  - {fault: reset, start: 1s, duration: 7s, pulse: {on: 2s, off: 3s}, target: {max-connections: 2}}
  - {name: slow, fault: "delay:by=5ms", start: 3s, ramp: {from: 10, to: 30, over: 4s, steps: 2}}
`

func TestPlayTimeline(t *testing.T) {
	onStage(t, func(t *testing.T, st *stage) {
		r := st.play(t, twoFaults, nil)
		if r.Code != event.CodeOK || r.Err != nil || r.Why != nil {
			t.Errorf("%+v", r)
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
		if d := cmp.Diff(want, st.log); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		if e := r.Entries[0]; e.Took != 4*time.Second || e.Stats.Rules[0].Chosen != 2 || e.Skipped != 0 || !e.WasActive() {
			t.Errorf("%+v", e)
		}
	})
}

// A pulse is left out when all that may be struck were.
func TestPlayMaxConnections(t *testing.T) {
	onStage(t, func(t *testing.T, st *stage) {
		r := st.play(t, strings.Replace(twoFaults, "max-connections: 2", "max-connections: 1", 1), nil)
		if r.Entries[0].Skipped != 1 || strings.Count(strings.Join(st.log, "\n"), "start reset") != 1 {
			t.Errorf("%d skipped, %q", r.Entries[0].Skipped, st.log)
		}
		if !strings.Contains(st.lines.String(), `"do":"start","at":"6s","note":"left out: max-connections 1 are struck already"`) {
			t.Error(st.lines.String())
		}
	})
}

// Whoever starts the sessions may choose ordinals, and sees what each decides.
func TestPlaySessions(t *testing.T) {
	onStage(t, func(t *testing.T, st *stage) {
		seen := map[string]int{}
		st.hooks.Session = func(entry string, nth int, p *experiment.Plan) {
			if nth == 1 {
				p.Choose(target.NewOrdinals([]uint64{4}))
			}
			p.Observe(experiment.Observer{Event: func(_ time.Time, e event.Event) { seen[fmt.Sprint(entry, " ", nth, " ", e.Name())]++ }})
		}
		st.play(t, twoFaults, nil)
		if got := strings.Join(st.log, "; "); !strings.Contains(got, "6s start reset max 1 chosen seed 43") || strings.Count(got, "chosen") != 1 {
			t.Error(got)
		}
		for _, want := range []string{"reset 0 fired", "reset 1 fired", "slow 0 flow", "slow 0 ended"} {
			if seen[want] != 1 {
				t.Errorf("%s: %d times", want, seen[want])
			}
		}
	})
}

const oneFault = "faults: [{fault: reset, duration: 10s, target: {to: ':5432'}}]\n"

func TestPlayOutcomes(t *testing.T) {
	broken := errors.New("status 503, want 200-299")
	from := func(at, to time.Duration) func(string, time.Duration) error {
		return func(_ string, now time.Duration) error {
			if now >= at && now < to {
				return broken
			}
			return nil
		}
	}
	const probe = oneFault + "probes: [{name: web, http: http://web/, interval: 1s}]\n"
	after := strings.Replace(probe, "interval: 1s", "interval: 1s, when: [after], recovery: 3s", 1)
	sec := time.Second
	for name, tc := range map[string]struct {
		file  string
		idle  bool
		fails func(string, time.Duration) error
		fires uint64
		code  event.Code
		says  string // all of Why, or what it holds
		log   string
		took  time.Duration
	}{
		"all is well":            {probe, false, nil, 1, 0, "every fault fired, and every probe passed as often as it must", "0s start reset; 10s stop reset", 10 * sec},
		"not steady":             {probe, false, from(0, time.Hour), 1, 3, "the steady state was not there to begin with: nothing was touched; web failed before: status 503, want 200-299", "", 0},
		"fails during":           {probe, false, from(3*sec, 4*sec), 1, 3, "web failed 1 of 10 times during the timeline, and 0 is tolerated", "0s start reset; 10s stop reset", 10 * sec},
		"within tolerance":       {strings.Replace(probe, "interval: 1s", "interval: 1s, tolerance: 10%", 1), false, from(3*sec, 4*sec), 1, 0, "every fault fired, and every probe passed as often as it must", "0s start reset; 10s stop reset", 10 * sec},
		"recovers in time":       {after, false, from(0, 13*sec), 1, 0, "every fault fired, and every probe passed as often as it must", "0s start reset; 10s stop reset", 13 * sec},
		"recovers late":          {after, false, from(0, 14*sec), 1, 3, "web has not recovered within 3s: status 503, want 200-299", "0s start reset; 10s stop reset", 13 * sec},
		"aborted by number":      {probe + "abort: [{probe: web, failures: 2}]\n", false, from(2*sec, 5*sec), 1, 3, "aborted: the probe web: it failed 2 times in a row; web failed 2 of 4 times during the timeline, and 0 is tolerated", "0s start reset; 3s stop reset", 5 * sec},
		"aborted by time":        {probe + "abort: [{probe: web, failing-for: 3s}]\n", false, from(2*sec, 6*sec), 1, 3, "aborted: the probe web: it has not passed for 3s; web failed 4 of 6 times during the timeline, and 0 is tolerated", "0s start reset; 5s stop reset", 6 * sec},
		"never fired":            {oneFault, false, nil, 0, 4, "reset never fired: no packet belonged to connections to :5432. Is that the port", "0s start reset; 10s stop reset", 10 * sec},
		"fired too seldom":       {strings.Replace(oneFault, "fault:", "must-fire: 3, fault:", 1), false, nil, 2, 4, "reset fired on 2 connections, and must on 3", "0s start reset; 10s stop reset", 10 * sec},
		"need not fire":          {strings.Replace(oneFault, "fault:", "must-fire: false, fault:", 1), false, nil, 0, 0, "no fault fired, and none had to, so it shows nothing of them; no probe was there to fail", "0s start reset; 10s stop reset", 10 * sec},
		"idle is allowed":        {oneFault, true, nil, 0, 0, "no fault fired, and none had to, so it shows nothing of them; no probe was there to fail", "0s start reset; 10s stop reset", 10 * sec},
		"a failed probe is more": {probe, false, from(3*sec, 4*sec), 0, 3, "web failed 1 of 10 times during the timeline, and 0 is tolerated", "0s start reset; 10s stop reset", 10 * sec},
	} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(t *testing.T, st *stage) {
				st.fails, st.fires, st.opts.AllowIdle = tc.fails, tc.fires, tc.idle
				r := st.play(t, tc.file, nil)
				says := strings.Join(r.Why, "; ")
				if r.Code == 0 {
					says = r.Holds()
				}
				if r.Code != tc.code || says != tc.says && (name != "never fired" || !strings.HasPrefix(says, tc.says)) || r.Err != nil {
					t.Errorf("%d, %q, %v; want %d, %q", r.Code, says, r.Err, tc.code, tc.says)
				}
				if got := strings.Join(st.log, "; "); got != tc.log {
					t.Errorf("%s, want %s", got, tc.log)
				}
				if took := time.Since(st.began); took != tc.took || r.Took != took {
					t.Errorf("it took %v and says %v, want %v", took, r.Took, tc.took)
				}
			})
		})
	}
}

// Whatever hangs, the deadline ends it; and what does not end by that, the door
// is told of.
func TestPlayDeadline(t *testing.T) {
	onStage(t, func(t *testing.T, st *stage) {
		st.hooks.Try = func(ctx context.Context, _ *Probe) error {
			<-ctx.Done()
			return ctx.Err()
		}
		r := st.play(t, oneFault+"probes: [{name: web, http: http://web/}]\ndeadline: 20s\n", nil)
		if took := time.Since(st.began); r.Code != event.CodeFailure || r.Err != nil || took != 20*time.Second || st.log != nil {
			t.Errorf("%+v after %v, %v", r, took, st.log)
		}
		if d := cmp.Diff([]string{"the deadline of 20s came before the end"}, r.Why); d != "" {
			t.Error(d)
		}
	})
	onStage(t, func(t *testing.T, st *stage) {
		st.stuck = make(chan struct{})
		st.hooks.Stuck = func(why string) {
			st.note("%s", why)
			close(st.stuck)
		}
		st.play(t, oneFault+"deadline: 20s\n", nil)
		if len(st.log) == 0 || st.log[0] != "25s the deadline of 20s has come, and the scenario does not end: this process ends, and the kernel takes its rules out" {
			t.Errorf("%q", st.log)
		}
	})
}

// The end of the context ends everything at once, and its cause is the result's.
func TestPlayInterrupted(t *testing.T) {
	onStage(t, func(t *testing.T, st *stage) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := event.Errorf(130, "", "ended by a signal: interrupt")
		time.AfterFunc(4*time.Second, func() { cancel(cause) })
		r := st.playUnder(ctx, t, oneFault+"probes: [{name: web, http: http://web/}]\n", nil)
		if r.Code != 130 || r.Err != cause || r.Why[0] != "ended by a signal: interrupt" || strings.Join(st.log, "; ") != "0s start reset; 4s stop reset" || time.Since(st.began) != 4*time.Second {
			t.Errorf("%+v, %v", r, st.log)
		}
	})
}

// An injector that cannot begin, or that breaks, ends the scenario with its own
// code.
func TestPlayBreaks(t *testing.T) {
	onStage(t, func(t *testing.T, st *stage) {
		st.refuse = fmt.Errorf("open nftables: %w", injector.ErrPermission)
		r := st.play(t, oneFault, nil)
		if r.Code != event.CodePreflight || !errors.Is(r.Err, injector.ErrPermission) || !strings.HasPrefix(r.Why[0], "reset: open nftables") || r.Entries[0].WasActive() {
			t.Errorf("%+v", r)
		}
	})
	onStage(t, func(t *testing.T, st *stage) {
		start := st.Start
		st.Start = func(ctx context.Context, cfg injector.Config) (experiment.Engine, error) {
			e, err := start(ctx, cfg)
			time.AfterFunc(3*time.Second, func() { e.(*engine).breaks(errors.New("the queue is gone")) })
			return e, err
		}
		r := st.play(t, oneFault, nil)
		if r.Code != event.CodeFailure || r.Why[0] != "reset: the queue is gone" || r.Err == nil || time.Since(st.began) != 3*time.Second {
			t.Errorf("%+v after %v", r, time.Since(st.began))
		}
	})
}

// What a fault will lack is said before anything is touched, however late it
// begins.
func TestPlanPreflight(t *testing.T) {
	onStage(t, func(t *testing.T, st *stage) {
		p, err := st.plan(t, strings.Replace(oneFault, "fault:", "start: 5m, fault:", 1))
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Preflight(); err != nil {
			t.Error(err)
		}
		st.lacks = fmt.Errorf("create an nftables table: %w", injector.ErrPermission)
		if err := p.Preflight(); experiment.CodeOf(err) != event.CodePreflight || !strings.HasPrefix(err.Error(), "reset: create an nftables table") {
			t.Error(err)
		}
	})
}

// The rails of a single run hold here too, and say where in the file.
func TestPlanRails(t *testing.T) {
	const ssh = "10.0.0.9 40000 10.0.0.1 22"
	for _, tc := range []struct {
		env, value, file string
		code             event.Code
		says             string
	}{
		{"FAULTCTL_REQUIRE_TARGET", "1", "faults: [{fault: reset, duration: 1s}]\n", 6, "day.yaml:1:18: faults[0].fault: no target, and FAULTCTL_REQUIRE_TARGET=1 demands one"},
		{"FAULTCTL_REQUIRE_TARGET", "1", oneFault, 0, ""},
		{"FAULTCTL_TO", ":99999", oneFault, 0, ""},
		{"SSH_CONNECTION", ssh, "faults: [{fault: reset, duration: 1s, target: {to: '10.0.0.1:22', from: 10.0.0.9}}]\n", 6, "which is protected"},
		{"SSH_CONNECTION", ssh, "faults: [{fault: reset, duration: 1s, target: {to: ':22'}}]\n", 0, ""},
		{"", "", "faults: [{fault: reset, duration: 1s, target: {to: 'gone.internal:22'}}]\n", 2, "day.yaml:1:52: faults[0].target.to: gone.internal:22: look up the host name"},
		{"", "", "target: {netns: nope}\nfaults: [{fault: reset, duration: 1s}]\n", 2, "day.yaml:1:17: target.netns: nope: no such network namespace"},
	} {
		onStage(t, func(t *testing.T, st *stage) {
			st.env[tc.env] = tc.value
			p, err := st.plan(t, tc.file)
			if code := experiment.CodeOf(err); code != tc.code || !strings.Contains(fmt.Sprint(err), tc.says) {
				t.Errorf("%+v: %d, %v", tc, code, err)
			}
			if err != nil {
				if experiment.AdviceOf(err) == "" {
					t.Errorf("%v: no advice", err)
				}
				return
			}
			if got := fmt.Sprint(p.Protected()); (got == "[{10.0.0.9:40000 10.0.0.1:22}]") != (tc.env == "SSH_CONNECTION") {
				t.Errorf("%+v: protected %s", tc, got)
			}
		})
	}
}

// The seed is the option's, the file's or drawn, and is in the line that repeats
// the run.
func TestPlanSeed(t *testing.T) {
	onStage(t, func(t *testing.T, st *stage) {
		for _, tc := range []struct {
			file, want string
			seed       *uint64
			idle       bool
		}{
			{oneFault, "faultctl scenario run day.yaml --seed 42", nil, false},
			{oneFault + "seed: 7\n", "faultctl scenario run day.yaml --seed 7 --allow-idle", nil, true},
			{oneFault + "seed: 7\n", "faultctl scenario run day.yaml --seed 0", ptr(uint64(0)), false},
		} {
			st.opts = Options{Seed: tc.seed, AllowIdle: tc.idle}
			p, err := st.plan(t, tc.file)
			if err != nil || p.Repeat() != tc.want || p.Entries[0].Seed() != p.Seed || p.Entries[0].Name != "reset" {
				t.Errorf("%v, %v, want %s", p, err, tc.want)
			}
			if line := p.Entries[0].CommandLine(); line != fmt.Sprintf("faultctl inject reset --to :5432 --seed %d", p.Seed) {
				t.Error(line)
			}
		}
	})
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

// TestPlayEvents holds that the events are those that the command has always
// written.
func TestPlayEvents(t *testing.T) {
	onStage(t, func(t *testing.T, st *stage) {
		st.env["SSH_CONNECTION"] = "10.0.0.9 40000 10.0.0.1 22"
		st.fails = func(p string, at time.Duration) error {
			if p == "web" && at >= 3*time.Second && at < 4*time.Second || p == "port" && at == 6*time.Second {
				return errors.New("connection refused")
			}
			return nil
		}
		if r := st.play(t, goldenDay, nil); r.Code != 0 {
			t.Errorf("%+v", r)
		}
		goldentest.Compare(t, "../../../cli/testdata/scenario.ndjson", strings.ReplaceAll(st.lines.String(), version.String(), "VERSION"))
		if got := (&Entry{Start: 1, Duration: 2, Pulse: &Pulse{3, 4}, Ramp: &Ramp{0, 50, 5, 1}}).When(); got != "from 1ns to 3ns, on for 3ns and off for 4ns in turn, 0% to 50% of the connections within 5ns" {
			t.Error(got)
		}
	})
}

func TestPlayTicks(t *testing.T) {
	onStage(t, func(t *testing.T, st *stage) {
		st.hooks.TickEvery = 4 * time.Second
		st.play(t, twoFaults, nil)
		if d := cmp.Diff([]string{"4s 6s 1 1", "8s 2s 2 1"}, st.ticks); d != "" {
			t.Error(d)
		}
	})
}

// A problem of a scenario that was not read from a file has no place.
func TestProblemWithoutFile(t *testing.T) {
	onStage(t, func(t *testing.T, st *stage) {
		st.env["FAULTCTL_REQUIRE_TARGET"] = "1"
		s, err := Parse("f", []byte("faults: [{fault: reset, duration: 1s}]"))
		if err != nil {
			t.Fatal(err)
		}
		s.doc = nil
		_, err = NewPlan(t.Context(), st.System, s, Options{})
		var ps document.Problems
		if !errors.As(err, &ps) || ps.Error() != "faults[0].fault: no target, and FAULTCTL_REQUIRE_TARGET=1 demands one" {
			t.Error(err)
		}
	})
}
