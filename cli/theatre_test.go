package cli

import (
	"context"
	"fmt"
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
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/google/go-cmp/cmp"
)

// theatre is a world in which a scenario plays by a clock of its own: nothing
// happens for real, and time passes only when everybody waits for it.
type theatre struct {
	*world
	began time.Time

	mu    sync.Mutex
	log   []string // what was done to sessions, and when
	fires uint64   // on how many connections each session's faults act
	lacks error    // what Preflight returns
	deaf  error    // what Retarget returns
	fails func(probe string, at time.Duration) error
	run   func(ctx context.Context, ready func()) error // what a session does, if not nothing
}

// inTheatre runs a test of scenarios.
func inTheatre(t *testing.T, test func(t *testing.T, th *theatre)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		th := &theatre{world: newWorld(t), began: time.Now(), fires: 1}
		th.sys.Now, th.sys.After = now, time.After
		th.sys.Start = func(ctx context.Context, cfg injector.Config) (experiment.Engine, error) {
			if err := cfg.Validate(); err != nil {
				return nil, err
			}
			a := &actor{th: th, cfg: cfg, done: make(chan struct{})}
			return a, a.start(ctx)
		}
		th.ask = func(ctx context.Context, p *scenario.Probe) error {
			if th.fails == nil {
				return nil
			}
			return th.fails(p.Name, time.Since(th.began))
		}
		th.sys.Preflight = func(injector.Config) error { return th.lacks }
		test(t, th)
	})
}

// now is the time in a theatre, which begins at midnight wherever the machine is.
func now() time.Time { return time.Now().UTC() }

func (th *theatre) note(format string, args ...any) {
	th.mu.Lock()
	defer th.mu.Unlock()
	th.log = append(th.log, fmt.Sprintf("%v ", time.Since(th.began))+fmt.Sprintf(format, args...))
}

// play writes a file and runs it.
func (th *theatre) play(t *testing.T, file string, flags ...string) int {
	t.Helper()
	return th.world.run(append([]string{"faultctl", "scenario", "run", th.file(t, file)}, flags...))
}

func (th *theatre) file(t *testing.T, content string) string {
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
func (th *theatre) holds(t *testing.T, line string, did, says []string) {
	t.Helper()
	if code := th.faultctl(line); code != exitOK {
		t.Errorf("exit %d\n%s", code, &th.err)
	}
	if d := cmp.Diff(did, th.log); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for _, s := range says {
		if !strings.Contains(th.out.String(), s) {
			t.Errorf("it does not say %q:\n%s", s, &th.out)
		}
	}
}

// actor is a session that says what is done to it.
type actor struct {
	th   *theatre
	cfg  injector.Config
	stop context.CancelFunc
	done chan struct{}
	err  error
}

func (a *actor) name() string {
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
func (a *actor) start(ctx context.Context) error {
	ctx, a.stop = context.WithCancel(ctx)
	if a.th.run != nil {
		started := make(chan error, 2)
		go func() {
			defer close(a.done)
			a.err = a.th.run(ctx, func() {
				a.cfg.OnEvent(injector.Event{Time: now(), Kind: injector.Ready})
				started <- nil
			})
			started <- a.err
		}()
		return <-started
	}
	a.th.note("start %s", a.name())
	a.cfg.OnEvent(injector.Event{Time: now(), Kind: injector.Ready})
	for range a.th.fires {
		a.cfg.OnEvent(injector.Event{Time: now(), Kind: injector.Chosen, Flow: dbFlow})
		a.cfg.OnEvent(injector.Event{Time: now(), Kind: injector.Fired, Fault: a.cfg.Rules[0].Faults[0].Name, Flow: dbFlow,
			Action: faults.SentRST, To: faults.Client, Reason: "because"})
	}
	go func() {
		defer close(a.done)
		<-ctx.Done()
		a.th.note("stop %s", a.cfg.Rules[0].Faults[0].Name)
	}()
	return nil
}

func (a *actor) Stop() error           { a.stop(); return a.Wait() }
func (a *actor) Done() <-chan struct{} { return a.done }
func (a *actor) Wait() error           { <-a.done; return a.err }

func (a *actor) Pause() error                               { return nil }
func (a *actor) Resume() error                              { return nil }
func (a *actor) SetModels(int, []injector.NamedModel) error { return nil }

func (a *actor) SetShare(_ int, share float64) error {
	a.th.note("share %s %.4g%%", a.cfg.Rules[0].Faults[0].Name, share*100)
	return nil
}

func (a *actor) Retarget(_ int, m target.Matcher) error {
	var ends []string
	for _, e := range m.To {
		ends = append(ends, fmt.Sprintf("%v:%d", e.Prefix.Addr(), e.LowPort))
	}
	a.th.note("retarget %s", strings.Join(ends, " "))
	return a.th.deaf
}

func (a *actor) Ruleset() string { return "table inet faultctl_1 {\n}\n" }

func (a *actor) Stats() injector.Snapshot {
	s := statsOf(a.cfg)
	s.Diverted = 10
	for i := range s.Rules {
		s.Rules[i].Flows, s.Rules[i].Chosen = a.th.fires, a.th.fires
		for k := range s.Rules[i].Faults {
			s.Rules[i].Faults[k].Fired = a.th.fires
		}
	}
	return s
}
