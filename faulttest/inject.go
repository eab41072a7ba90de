package faulttest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/netns"
	"github.com/faultctl/faultctl/lab/userns"
)

// Injection is an active fault, or several that strike the same connections.
type Injection struct {
	t          testing.TB
	faults     string // as SPECs
	plan       *experiment.Plan
	run        *experiment.Run
	mayNotFire bool
	once       sync.Once
}

// Inject strikes connections with a fault from now until the end of the test.
// Connections that are already open are struck too. The test fails at once if the
// fault cannot be injected, and at its end if a fault never fired. Each call injects
// faults of its own, so tests that run in parallel need separate services. If
// faultctl run or verify strikes the test without root, the test is skipped.
//
// It works in the network namespace of the calling thread. It must be called from
// the goroutine that runs the test.
func Inject(t testing.TB, f Fault, options ...Option) *Injection {
	t.Helper()
	if userns.Caged() {
		t.Skip("faultctl strikes this test: it cannot have faults of its own")
	}
	s, err := read(f, options)
	if err != nil {
		t.Fatalf("faulttest.Inject: %v", err)
	}
	i := &Injection{t: t, faults: strings.Join(s.spec.FaultNames(), ","), mayNotFire: s.mayNotFire}
	if err := i.start(&s.spec); err != nil {
		if errors.Is(err, injector.ErrPermission) {
			err = fmt.Errorf("%w; without root call faulttest.Main in TestMain", err)
		}
		t.Fatalf("faulttest.Inject(%s): %v", i.faults, err)
	}
	t.Cleanup(func() {
		t.Helper()
		i.Stop()
		i.judge()
	})
	return i
}

// read reads the fault and the options.
func read(f Fault, options []Option) (*settings, error) {
	s := &settings{spec: experiment.Spec{
		Duration: new(time.Duration), ResolveEvery: new(time.Duration), Seed: new(uint64(1)),
	}}
	for _, o := range append([]Option{And(f)}, options...) {
		if err := o(s); err != nil {
			return nil, err
		}
	}
	if problems := s.spec.Validate(); len(problems) > 0 {
		return nil, problems
	}
	named := len(s.spec.Target.From) > 0
	for _, to := range s.spec.Target.To {
		named = named || !strings.HasPrefix(to, "!")
	}
	if !named && !userns.Inside() {
		return nil, errors.New("name the service with To: without it every TCP connection of this host would be struck")
	}
	return s, nil
}

// watchdog is how long the test may be stopped before the kernel kills it, so that
// other connections that the fault may match continue.
const watchdog = 30 * time.Second

// start starts the run and returns once its rules are in.
func (i *Injection) start(spec *experiment.Spec) error {
	// The namespace of the calling thread, whatever thread carries on.
	ns, err := netns.Current()
	if err != nil {
		return fmt.Errorf("open the network namespace: %w", err)
	}
	i.t.Cleanup(func() { ns.Close() })
	ctx := context.Background()
	if i.plan, err = system(ns).Plan(ctx, *spec); err != nil {
		return err
	}
	i.t.Cleanup(func() { i.plan.Close() })
	i.run, err = experiment.Start(ctx, i.plan)
	return err
}

// system is the world in which a test injects faults: the engine works in that
// network namespace.
func system(ns *os.File) *experiment.System {
	sys := experiment.NewSystem()
	start := sys.Start
	sys.Start = func(ctx context.Context, cfg injector.Config) (experiment.Engine, error) {
		cfg.NetNS, cfg.Watchdog = ns, watchdog
		if userns.Inside() {
			cfg.Watchdog = -1 // nobody else is here; a debugger may stop a test
		}
		return start(ctx, cfg)
	}
	translations := sys.Translations
	sys.Translations = func(_ *os.File, m target.Matcher) ([]injector.Translation, error) { return translations(ns, m) }
	return sys
}

// Run is the run of the faults, for a test that changes or pauses it, or reads its
// events. Inject ends it.
func (i *Injection) Run() *experiment.Run { return i.run }

// Stop ends the faults before the test does. Everything is as it was before when it
// returns. It may be called more than once.
func (i *Injection) Stop() {
	i.t.Helper()
	i.once.Do(func() {
		if err := i.run.Stop(); err != nil {
			i.t.Errorf("faulttest.Inject(%s): %v", i.faults, err)
		}
	})
}

// Fired returns the number of connections that the fault has acted on so far. If
// there are several faults, it is the smallest of their numbers.
func (i *Injection) Fired() int {
	least := uint64(math.MaxInt)
	for _, r := range i.run.Stats().Rules {
		for _, f := range r.Faults {
			least = min(least, experiment.Strikes(f))
		}
	}
	return int(least)
}

// judge fails the test if a fault never fired.
func (i *Injection) judge() {
	i.t.Helper()
	spec := i.run.Spec()
	for _, j := range spec.Judge(i.run.Stats(), outcome.NoCommand).Faults {
		f, fired := j.Stats, experiment.Strikes(j.Stats)
		i.t.Logf("%s: %d connections matched, %d chosen, fired on %d; %d segments dropped, %d forged", f.Name, j.Rule.Flows, j.Rule.Chosen, fired, f.Dropped, f.Forged)
		switch {
		case i.mayNotFire || i.t.Skipped():
		case j.Verdict == outcome.Unaccepted, j.Verdict == outcome.Inconclusive, j.Verdict == outcome.NeverFired && j.Reason() != "":
			i.t.Errorf("faulttest.Inject(%s): %s: %s: %s", i.faults, f.Name, j.Verdict, j.Reason())
		case fired > 0:
		case j.Verdict == outcome.Prevented:
			i.t.Logf("%s was prevented: %s", f.Name, j.Reason())
		case j.Rule.Flows == 0:
			i.t.Errorf("faulttest.Inject(%s): %s never fired: no connection matched", i.faults, f.Name)
		default:
			i.t.Errorf("faulttest.Inject(%s): %s never fired: the moment that it waits for did not come; faultctl faults %s says which one that is", i.faults, f.Name, f.Name)
		}
	}
}
