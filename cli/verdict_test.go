package cli

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/faults/features"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/injector"
)

// came is what the strikes of a fault came to.
func came(sent, accepted, felt outcome.Answer, why outcome.Evidence) outcome.Tally {
	step := func(a outcome.Answer) outcome.Step { return outcome.Step{Answer: a, Evidence: why} }
	return outcome.Tally{Struck: 1, Furthest: outcome.Outcome{Struck: true, Sent: step(sent), Accepted: step(accepted), Felt: step(felt)}}
}

// outcomes are what faults come to in these tests, by name.
func outcomes() map[string]outcome.Tally {
	const y, n, u = outcome.Yes, outcome.No, outcome.NotKnown
	lost := came(y, y, y, outcome.AwaitedAnswer)
	lost.Felt, lost.AnswersLost, lost.SentAgain = 1, 2, 1
	unfelt := came(y, y, n, outcome.NothingAtStake)
	unfelt.Unfelt = 1
	unsent := came(n, n, n, outcome.SendFailed)
	unsent.Unsent = 1
	return map[string]outcome.Tally{
		"reset":          lost,
		"idle-expire":    {Prevented: outcome.Prevention{How: features.ByData, Silence: 500 * time.Millisecond, Needed: time.Second}},
		"half-open":      unfelt,
		"closed-socket":  came(y, n, n, outcome.WentOn),
		"linger-reset":   came(y, u, y, outcome.SilentAnyway),
		"refuse":         unsent,
		"rst-close":      {ClosedBefore: 1, Furthest: outcome.Outcome{Why: outcome.ClosedBefore}},
		"keepalive-drop": {},
	}
}

// settling has each run come to what outcomes says of its faults.
func (w *world) settling() {
	all, start := outcomes(), w.sys.Start
	w.sys.Start = func(ctx context.Context, cfg injector.Config) (experiment.Engine, error) {
		rule := injector.RuleStats{Flows: 2, Chosen: 1}
		for _, f := range cfg.Rules[0].Faults {
			s := all[f.Name]
			rule.Faults = append(rule.Faults, injector.FaultStats{Name: f.Name, Fired: s.Struck + s.ClosedBefore, Settled: s})
		}
		w.session.stats = injector.Snapshot{Rules: []injector.RuleStats{rule}}
		return start(ctx, cfg)
	}
}

// TestVerifyWords holds what is printed of every verdict, and that one which is no
// pass decides the exit code.
func TestVerifyWords(t *testing.T) {
	w := newWorld(t)
	w.timers = never
	w.settling()
	code := w.runs(t, "verify --to :5432 --every 2 --faults reset,idle-expire,half-open,closed-socket,linger-reset,refuse,rst-close,keepalive-drop", "true")
	if code != exitNotFired {
		t.Errorf("exit %d\n%s", code, &w.err)
	}
	golden(t, "verify-words.txt", w.out.String())
	for line := range strings.Lines(w.out.String()) {
		if strings.Contains(line, "struck\n") && len([]rune(line)) > 80 {
			t.Errorf("wide: %s", line)
		}
	}
	for flags, want := range map[string]int{
		"--faults reset,idle-expire":                                        exitOK,
		"--faults reset,half-open":                                          exitNotFired,
		"--faults reset,half-open --may-idle half-open":                     exitOK,
		"--faults reset,half-open,refuse --may-idle half-open":              exitNotFired,
		"--faults reset,half-open,refuse --may-idle half-open --allow-idle": exitOK,
		"--faults reset --may-idle nope":                                    exitUsage,
	} {
		w := newWorld(t)
		w.timers = never
		w.settling()
		if code := w.runs(t, "verify --every 2 "+flags, "true"); code != want {
			t.Errorf("%s: exit %d, want %d\n%s%s", flags, code, want, &w.out, &w.err)
		}
	}
}

// TestVerifyWrongTarget holds that a --to which none of the command's connections
// goes to ends verify at once.
func TestVerifyWrongTarget(t *testing.T) {
	w := newWorld(t)
	w.timers = never
	w.opens = []string{"127.0.0.1:5433"}
	if code := w.runs(t, "verify --to :5432 --faults reset,refuse", "true"); code != exitNotFired || w.cfg.Rules != nil {
		t.Errorf("exit %d, rules %+v", code, w.cfg.Rules)
	}
	golden(t, "verify-wrong-target.txt", w.out.String())
}

// TestInjectWords holds the exit codes of a fault that runs by itself, and what is
// said of it.
func TestInjectWords(t *testing.T) {
	for fault, tc := range map[string]struct {
		code, run int
		says      string
	}{
		"reset":                         {exitOK, exitOK, "2 requests reached the service whole and their answer was lost; 1 of them came again"},
		"idle-expire --after 1s":        {exitOK, exitOK, "idle-expire was prevented: longest silence 0.5s of 1s: kept alive by data."},
		"half-open":                     {exitOK, exitRunNotFired, ""}, // nobody was there to ask
		"linger-reset":                  {exitOK, exitRunNotFired, ""},
		"closed-socket":                 {exitNotFired, exitRunNotFired, "closed-socket was not accepted: the TCP that it was meant for took no notice"},
		"refuse":                        {exitNotFired, exitRunNotFired, "refuse was not accepted: it did not leave this host: this host refused to send it, because a firewall drops it"},
		"rst-close":                     {exitNotFired, exitRunNotFired, "rst-close never fired: its moment came on 1 connection, closed before"},
		"keepalive-drop":                {exitNotFired, exitRunNotFired, "keepalive-drop never fired"},
		"refuse --may-idle refuse":      {exitOK, exitOK, "did not leave this host"},
		"refuse --allow-idle":           {exitOK, exitOK, ""},
		"keepalive-drop --fault reset":  {exitNotFired, exitRunNotFired, ""},
		"idle-expire:after=1s,reset":    {exitOK, exitOK, ""},
		"half-open --may-idle refuse":   {exitOK, exitRunNotFired, ""},
		"refuse,reset --may-idle reset": {exitNotFired, exitRunNotFired, ""},
	} {
		w := newWorld(t)
		w.settling()
		code := w.faultctl("inject " + fault + " --to :80 --duration 1s --expect-fired")
		flat := strings.Join(strings.Fields(w.out.String()), " ")
		if code != tc.code || !strings.Contains(flat, tc.says) {
			t.Errorf("inject %s: exit %d, want %d and %q\n%s", fault, code, tc.code, tc.says, &w.out)
		}
		w = newWorld(t)
		w.timers = never
		w.settling()
		if code := w.runs(t, "run "+fault, "true"); code != tc.run {
			t.Errorf("run %s: exit %d, want %d\n%s", fault, code, tc.run, &w.err)
		}
	}
}

// TestFeltColumn holds that a summary has a column more only where it says more,
// and how an outcome is told.
func TestFeltColumn(t *testing.T) {
	w := newWorld(t)
	w.settling()
	w.session.events = append(w.session.events, injector.Event{Time: noon.Add(time.Second), Kind: injector.Outcome, Fault: "half-open", Flow: dbFlow,
		Outcome: came(outcome.Yes, outcome.Yes, outcome.No, outcome.NothingAtStake).Furthest},
		injector.Event{Time: noon.Add(time.Second), Kind: injector.Outcome, Fault: "half-open", Flow: dbFlow, Outcome: outcome.Outcome{Why: outcome.ClosedBefore}})
	w.faultctl("inject half-open --fault idle-expire:after=1s --to :80 --duration 1s")
	golden(t, "felt.txt", w.out.String())
}

// TestNotConclusive holds what is said of a run that did not keep up with its packets: it
// is not conclusive, whatever its faults came to, and a machine that stalls once is no
// reason.
func TestNotConclusive(t *testing.T) {
	late := func(n, of uint64, by time.Duration) injector.Snapshot {
		h := injector.Histogram{Bounds: []time.Duration{injector.LateAfter, injector.TooLateAfter}, Counts: []uint64{of - n, n, 0}, Max: by}
		if by > injector.TooLateAfter {
			h.Counts = []uint64{of - n, 0, n}
		}
		return injector.Snapshot{Latency: h}
	}
	for name, tc := range map[string]struct {
		stats injector.Snapshot
		clear bool
		says  string
	}{
		"shed by the worker":    {injector.Snapshot{Shed: 3}, false, "3 packets passed unjudged"},
		"shed by the kernel":    {injector.Snapshot{Overruns: 2}, false, "2 packets passed unjudged"},
		"many were late":        {late(11, 1000, 300*time.Millisecond), false, "11 verdicts of 1000 came more than 200ms late, the latest after 300ms"},
		"one was too late":      {late(1, 1000, 1100*time.Millisecond), false, "1 verdict of 1000 came more than 200ms late, the latest after 1.1s"},
		"few were late":         {late(10, 20, 990*time.Millisecond), true, "99 % of the verdicts came within 990ms, the latest after 990ms"},
		"a small share of many": {late(90, 9000, 500*time.Millisecond), true, "99 % of the verdicts came within 200ms, the latest after 500ms"},
		"none were":             {late(0, 20, 3120*time.Microsecond), true, "99 % of the verdicts came within 3.1ms, the latest after 3.1ms"},
	} {
		t.Run(name, func(t *testing.T) {
			world := func() *world {
				w := newWorld(t)
				start := w.sys.Start
				w.sys.Start = func(ctx context.Context, cfg injector.Config) (experiment.Engine, error) {
					if cfg.Rules[0].Faults[0].Name != "observe" { // verify's first run has none
						w.session.stats = w.session.stats.Plus(tc.stats)
					}
					return start(ctx, cfg)
				}
				w.settling()
				return w
			}
			exit := func(code int) int {
				if tc.clear {
					return exitOK
				}
				return code
			}
			for flags, want := range map[string]int{"--expect-fired": exit(exitNotFired), "--expect-fired --allow-idle": exitOK, "": exitOK} {
				w := world()
				code := w.faultctl("inject reset --to :80 --duration 1s " + flags)
				flat := strings.Join(strings.Fields(w.out.String()), " ")
				if code != want || !strings.Contains(flat, tc.says) || strings.Contains(flat, "not conclusive") == tc.clear {
					t.Errorf("inject %s: exit %d, want %d and %q\n%s", flags, code, want, tc.says, &w.out)
				}
			}
			w := world()
			w.timers = never
			if code := w.runs(t, "run reset", "true"); code != exit(exitRunNotFired) {
				t.Errorf("run: exit %d, want %d\n%s", code, exit(exitRunNotFired), &w.out)
			}
			w = world()
			w.timers = never
			if code := w.runs(t, "run reset", "false"); code != 1 { // the command's own
				t.Errorf("run: exit %d, want 1\n%s", code, &w.out)
			}
			w = world()
			w.timers = never
			if code := w.runs(t, "verify --to :5432 --faults reset", "true"); code != exit(exitNotFired) || strings.Contains(w.out.String(), "1 not conclusive") == tc.clear {
				t.Errorf("verify: exit %d, want %d\n%s", code, exit(exitNotFired), &w.out)
			}
		})
	}
}
