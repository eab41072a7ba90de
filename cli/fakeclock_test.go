package cli

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/scenario"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/google/go-cmp/cmp"
)

// fakeClockWorld is a world with a clock of its own (testing/synctest): time passes
// only when every goroutine waits, and engines are fakes that log what is done.
type fakeClockWorld struct {
	*world
	began time.Time

	mu           sync.Mutex
	log          []string // what was done to sessions, and when
	fires        uint64   // on how many connections each session's faults act
	preflightErr error    // what Preflight returns
	retargetErr  error    // what Retarget returns
	fails        func(probe string, at time.Duration) error
	run          func(ctx context.Context, ready func()) error // what a session does, if not nothing
}

// withFakeClock runs a test of scenarios.
func withFakeClock(t *testing.T, test func(t *testing.T, w *fakeClockWorld)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &fakeClockWorld{world: newWorld(t), began: time.Now(), fires: 1}
		w.sys.Now, w.sys.After = now, time.After
		w.sys.Start = func(ctx context.Context, cfg injector.Config) (experiment.Engine, error) {
			if err := cfg.Validate(); err != nil {
				return nil, err
			}
			a := &fakeEngine{w: w, cfg: cfg, done: make(chan struct{})}
			return a, a.start(ctx)
		}
		w.ask = func(ctx context.Context, p *scenario.Probe) error {
			if w.fails == nil {
				return nil
			}
			return w.fails(p.Name, time.Since(w.began))
		}
		w.sys.Preflight = func(injector.Config) error { return w.preflightErr }
		test(t, w)
	})
}

// now is the time of the fake clock, which begins at midnight wherever the machine is.
func now() time.Time { return time.Now().UTC() }

func (w *fakeClockWorld) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, fmt.Sprintf("%v ", time.Since(w.began))+fmt.Sprintf(format, args...))
}

// play writes a file and runs it.
func (w *fakeClockWorld) play(t *testing.T, file string, flags ...string) int {
	t.Helper()
	return w.world.run(append([]string{"faultctl", "scenario", "run", w.file(t, file)}, flags...))
}

func (w *fakeClockWorld) file(t *testing.T, content string) string {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile(filepath.Join(dir, "day.yaml"), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return "day.yaml"
}

// holds runs a command line, and holds what it did to sessions and some of what it
// said.
func (w *fakeClockWorld) holds(t *testing.T, line string, did, says []string) {
	t.Helper()
	if code := w.faultctl(line); code != exitOK {
		t.Errorf("exit %d\n%s", code, &w.err)
	}
	if d := cmp.Diff(did, w.log); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for _, s := range says {
		if !strings.Contains(w.out.String(), s) {
			t.Errorf("it does not say %q:\n%s", s, &w.out)
		}
	}
}

// fakeEngine is a session that says what is done to it.
type fakeEngine struct {
	w    *fakeClockWorld
	cfg  injector.Config
	stop context.CancelFunc
	done chan struct{}
	err  error
}

func (a *fakeEngine) name() string {
	r := a.cfg.Rules[0]
	s := r.Faults[0].Name
	if r.Pick.Share != (target.Share{}) {
		s += fmt.Sprintf(" %.4g%%", r.Pick.Share.Chance()*100)
	}
	if r.Pick.Max > 0 {
		s += fmt.Sprintf(" max %d", r.Pick.Max)
	}
	if r.Pick.Skip == ^uint64(0) {
		s += " skip all"
	}
	if a.cfg.Seed != 42 {
		s += fmt.Sprintf(" seed %d", a.cfg.Seed)
	}
	return s
}

// start plays the session until ctx is done or it is stopped.
func (a *fakeEngine) start(ctx context.Context) error {
	ctx, a.stop = context.WithCancel(ctx)
	if a.w.run != nil {
		started := make(chan error, 2)
		go func() {
			defer close(a.done)
			a.err = a.w.run(ctx, func() {
				a.cfg.OnEvent(injector.Event{Time: now(), Kind: injector.Ready})
				started <- nil
			})
			started <- a.err
		}()
		return <-started
	}
	a.w.note("start %s", a.name())
	a.cfg.OnEvent(injector.Event{Time: now(), Kind: injector.Ready})
	for range a.w.fires {
		a.cfg.OnEvent(injector.Event{Time: now(), Kind: injector.Chosen, Flow: dbFlow})
		a.cfg.OnEvent(injector.Event{Time: now(), Kind: injector.Fired, Fault: a.cfg.Rules[0].Faults[0].Name, Flow: dbFlow,
			Action: faults.SentRST, To: faults.Client, Reason: "because"})
	}
	go func() {
		defer close(a.done)
		<-ctx.Done()
		a.w.note("stop %s", a.cfg.Rules[0].Faults[0].Name)
	}()
	return nil
}

func (a *fakeEngine) Stop() error           { a.stop(); return a.Wait() }
func (a *fakeEngine) Done() <-chan struct{} { return a.done }
func (a *fakeEngine) Wait() error           { <-a.done; return a.err }

func (a *fakeEngine) Pause() error  { return nil }
func (a *fakeEngine) Resume() error { return nil }
func (a *fakeEngine) Strike(int, netip.AddrPort, netip.AddrPort) (injector.When, error) {
	return 0, nil
}
func (a *fakeEngine) Spare(int, netip.AddrPort, netip.AddrPort) error { return nil }
func (a *fakeEngine) Unchosen(int, int) []injector.Flow               { return nil }
func (a *fakeEngine) SetModels(int, []injector.NamedModel) error      { return nil }

func (a *fakeEngine) SetShare(_ int, share float64) error {
	a.w.note("share %s %.4g%%", a.cfg.Rules[0].Faults[0].Name, share*100)
	return nil
}

func (a *fakeEngine) Retarget(_ int, m target.Matcher) error {
	var ends []string
	for _, e := range m.To {
		ends = append(ends, fmt.Sprintf("%v:%d", e.Prefix.Addr(), e.LowPort))
	}
	a.w.note("retarget %s", strings.Join(ends, " "))
	return a.w.retargetErr
}

func (a *fakeEngine) Ruleset() string { return "table inet faultctl_1 {\n}\n" }

func (a *fakeEngine) Stats() injector.Snapshot {
	s := statsOf(a.cfg)
	s.Diverted = 10
	for i := range s.Rules {
		s.Rules[i].Flows, s.Rules[i].Chosen = a.w.fires, a.w.fires
		for k := range s.Rules[i].Faults {
			s.Rules[i].Faults[k].Fired = a.w.fires
			if a.w.fires > 0 {
				s.Rules[i].Faults[k].Settled = outcome.Tally{Struck: a.w.fires, Felt: a.w.fires, Furthest: felt}
			}
		}
	}
	return s
}
