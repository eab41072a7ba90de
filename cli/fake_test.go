package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/cage"
	"github.com/faultctl/faultctl/internal/containers"
	"github.com/faultctl/faultctl/internal/goldentest"
	"github.com/faultctl/faultctl/internal/rights"
)

// golden compares with a file of testdata, or writes it with -update.
var golden = goldentest.Compare

// noon is the time of every test.
var noon = time.Date(2026, 3, 4, 12, 0, 0, 5, time.UTC)

// TestMain takes flags out of the environment: whoever runs the tests may have
// some there for runs of their own.
func TestMain(m *testing.M) {
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "FAULTCTL_") && name != "FAULTCTL_REQUIRE" {
			os.Unsetenv(name)
		}
	}
	os.Exit(m.Run())
}

// world is a host that does nothing for real.
type world struct {
	*host
	out, err buffer
	signal   chan os.Signal
	session  *fakeSession
	cage     *openCage                // the last one made
	child    string                   // what the last command wrote
	cfg      injector.Config          // what the last session was started with
	timers   map[time.Duration]func() // run when that is waited for; none: it never comes
	exited   chan int
	local    []netip.Addr
	opens    []string // services of the connections of a command that is only watched

	engaged chan struct{} // closed when a run has its engine, and so its counters
	once    sync.Once

	mu     sync.Mutex
	afters []time.Duration // what was waited for
}

// buffer is a bytes.Buffer that can be read while a run writes to it.
type buffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

// fakeSession is an engine that plays events when it starts, and then waits for
// its end.
type fakeSession struct {
	w      *world
	events []injector.Event
	stats  injector.Snapshot
	err    error  // of its start
	broke  error  // what it ends with, by itself, at once
	late   bool   // it tells no event before it has started
	begun  func() // before the events
	played func() // after the events

	stop context.CancelFunc
	done chan struct{}
}

// start is System.Start: the first event is told before it returns, unless late.
func (s *fakeSession) start(ctx context.Context) (experiment.Engine, error) {
	if s.err != nil {
		return nil, s.err
	}
	run := *s
	ctx, run.stop = context.WithCancel(ctx)
	run.done = make(chan struct{})
	if s.begun != nil {
		s.begun()
	}
	tell, early := s.w.cfg.OnEvent, min(1, len(s.events))
	if s.late {
		early = 0
	}
	for _, ev := range s.events[:early] {
		tell(ev)
	}
	go func() {
		defer close(run.done)
		if s.late {
			time.Sleep(20 * time.Millisecond)
		}
		for _, ev := range s.events[early:] {
			tell(ev)
		}
		if s.played != nil {
			s.played()
		}
		if s.broke == nil {
			<-ctx.Done()
		}
	}()
	return &run, nil
}

func (s *fakeSession) Stats() injector.Snapshot    { return s.stats }
func (s *fakeSession) SetShare(int, float64) error { return nil }
func (s *fakeSession) Strike(int, netip.AddrPort, netip.AddrPort) (injector.When, error) {
	return 0, nil
}
func (s *fakeSession) Spare(int, netip.AddrPort, netip.AddrPort) error { return nil }
func (s *fakeSession) Unchosen(int, int) []injector.Flow               { return nil }
func (s *fakeSession) SetModels(int, []injector.NamedModel) error      { return nil }
func (s *fakeSession) Retarget(int, target.Matcher) error              { return nil }
func (s *fakeSession) Pause() error                                    { return nil }
func (s *fakeSession) Resume() error                                   { return nil }
func (s *fakeSession) Ruleset() string                                 { return fakeRuleset }
func (s *fakeSession) Done() <-chan struct{}                           { return s.done }
func (s *fakeSession) Wait() error                                     { <-s.done; return s.broke }
func (s *fakeSession) Stop() error                                     { s.stop(); return s.Wait() }

const fakeRuleset = "table inet faultctl_1 {\n}\n"

// openCage is a cage that holds nothing.
type openCage struct {
	ns      *os.File
	started int
	emptied int
	given   bool
}

func (c *openCage) Owner() target.Owner {
	return target.Owner{Cgroup: &target.Cgroup{Path: "faultctl-7-1", ID: 9, Level: 1}}
}
func (c *openCage) NetNS() *os.File { return c.ns }
func (c *openCage) Start(cmd *exec.Cmd) (cage.Process, error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c.started++
	return cage.Child(cmd), nil
}
func (c *openCage) Empty() error { c.emptied++; return nil }
func (c *openCage) Close() error { c.given = true; return nil }

// newWorld returns a host on which a run is ready at once and lasts until its
// duration is over, which it is at once.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{signal: make(chan os.Signal, 2), exited: make(chan int, 1), opens: []string{dbFlow.Server}, engaged: make(chan struct{})}
	w.session = &fakeSession{w: w, events: []injector.Event{{Time: noon, Kind: injector.Ready, Flow: injector.Flow{Client: "invalid AddrPort", Server: "invalid AddrPort"}}}}
	w.local = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("10.0.0.1")}
	w.host = &host{
		sys:    w.system(t),
		stdout: &w.out, stderr: &w.err, width: defaultWidth,
		screen:  func() int { return w.width },
		signals: func() (<-chan os.Signal, func()) { return w.signal, func() {} },
		exit:    func(code int) { w.exited <- code },
		probe:   func() []injector.Feature { return nil },
		rights:  func() rights.Rights { return rights.Rights{Root: true, NetAdmin: true, NetRaw: true, SysAdmin: true} },
		cleanup: func() ([]string, error) { return nil, nil },
	}
	w.relay = func() (<-chan os.Signal, func()) { return w.signal, func() {} }
	w.mustIsolate = func() bool { return false }
	w.mustEnter = func() bool { return false }
	w.probeInside = func() []featureJSON { return nil }
	w.cleanupCages = func() ([]string, error) { return nil, nil }
	for _, v := range []string{"SSH_CONNECTION", "SUDO_UID", "NO_COLOR", "FAULTCTL_REQUIRE_TARGET"} {
		t.Setenv(v, "") // of an earlier world of the same test
	}
	return w
}

// system is a system on which runs do nothing for real.
func (w *world) system(t *testing.T) *experiment.System {
	sys := experiment.NewSystem()
	sys.Host = place.Host{
		Proc: t.TempDir(), NetNSDirs: []string{t.TempDir(), t.TempDir()},
		Now:    func() time.Time { return noon.Add(1500 * time.Millisecond) },
		After:  w.timer,
		Getenv: os.Getenv,
		Local:  func() []netip.Addr { return w.local },
		Container: func(_ context.Context, name string) (*containers.Container, error) {
			return nil, &containers.NotFound{Name: name, Names: []string{"web", "db"}}
		},
		ContainerNames: func() []string { return []string{"web", "db"} },
		WatchContainer: func(ctx context.Context, _ *containers.Container, _ string, _ func()) { <-ctx.Done() },
	}
	sys.Seed = func() uint64 { return 42 }
	sys.Start = func(ctx context.Context, cfg injector.Config) (experiment.Engine, error) {
		if err := cfg.Validate(); err != nil {
			return nil, err
		}
		if cfg.Rules[0].Faults[0].Name == "observe" && cfg.Rules[0].Match.To == nil {
			return w.watch(ctx, cfg), nil
		}
		w.cfg = cfg
		if w.session.stats.Rules == nil {
			w.session.stats = statsOf(cfg)
		}
		return w.session.start(ctx)
	}
	sys.Ruleset = func(cfg injector.Config) (string, error) { w.cfg = cfg; return fakeRuleset, nil }
	sys.Preflight = func(injector.Config) error { return nil }
	sys.Lookup = func(_ context.Context, name string) ([]netip.Addr, error) {
		if name == "db.internal" {
			return []netip.Addr{netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("fd00::5")}, nil
		}
		return nil, errors.New("no such host")
	}
	sys.FindCgroup = func(name string) (*target.Cgroup, error) {
		if name != "/app" {
			return nil, noCgroup(name)
		}
		return &target.Cgroup{Path: "app", ID: 7, Level: 1}, nil
	}
	sys.FindNAT = func(*os.File) (injector.NAT, error) { return injector.NAT{}, nil }
	sys.Translations = func(*os.File, target.Matcher) ([]injector.Translation, error) { return nil, nil }
	sys.Shares = func(*os.File) error { return nil }
	sys.MakeCage = func(ns *os.File) (cage.Cage, error) {
		w.cage = &openCage{ns: ns}
		return w.cage, nil
	}
	return sys
}

// lookEvery is how often a run looks names up again.
const lookEvery = 30 * time.Second

func (w *world) timer(d time.Duration) <-chan time.Time {
	c := make(chan time.Time, 1)
	if d == lookEvery { // beside the run; see TestNamesFollowed
		w.once.Do(func() { close(w.engaged) })
		return c
	}
	w.mu.Lock()
	w.afters = append(w.afters, d)
	w.mu.Unlock()
	switch do, known := w.timers[d]; {
	case known && do != nil:
		do()
	case w.timers == nil || known:
		c <- noon
	}
	return c
}

// statsOf are counters at zero for the faults of a configuration.
func statsOf(cfg injector.Config) injector.Snapshot {
	var s injector.Snapshot
	for _, r := range cfg.Rules {
		var rs injector.RuleStats
		for _, f := range r.Faults {
			rs.Faults = append(rs.Faults, injector.FaultStats{Name: f.Name})
		}
		s.Rules = append(s.Rules, rs)
	}
	return s
}

// faultctl runs a command line, split at blanks.
func (w *world) faultctl(line string) int {
	return w.run(append([]string{"faultctl"}, strings.Fields(line)...))
}

var dbFlow = injector.Flow{Client: "10.0.0.1:43210", Server: "10.0.0.5:5432"}

// oneFired is a run in which one connection was struck.
func oneFired(w *world, fault string) {
	w.session.events = append(w.session.events,
		injector.Event{Time: noon.Add(time.Second), Kind: injector.Chosen, Flow: dbFlow, Midstream: true},
		injector.Event{Time: noon.Add(1200 * time.Millisecond), Kind: injector.Fired, Fault: fault, Flow: dbFlow,
			Action: faults.SentRST, To: faults.Client, Reason: "it was idle"},
	)
	w.session.stats = injector.Snapshot{Diverted: 3, Rules: []injector.RuleStats{{Flows: 2, Chosen: 1,
		Faults: []injector.FaultStats{{Name: fault, Fired: 1, Acted: 2, Diverted: 3, Dropped: 1, Forged: 1,
			Settled: outcome.Tally{Struck: 1, Felt: 1, Furthest: felt}}}}}}
}

// felt is the outcome of a strike that arrived and was felt.
var felt = outcome.Outcome{
	Struck: true, Sent: outcome.Step{Answer: outcome.Yes, Evidence: outcome.RawSent},
	Accepted: outcome.Step{Answer: outcome.Yes, Evidence: outcome.SocketGone}, Felt: outcome.Step{Answer: outcome.Yes, Evidence: outcome.AwaitedAnswer},
}

// watch is a run that only watches what a command does: it opens w.opens.
func (w *world) watch(ctx context.Context, cfg injector.Config) experiment.Engine {
	run := &fakeSession{w: w, done: make(chan struct{})}
	n := uint64(len(w.opens))
	run.stats = injector.Snapshot{Rules: []injector.RuleStats{{Flows: n, Chosen: n, Faults: []injector.FaultStats{{Name: "observe"}}}}}
	ctx, run.stop = context.WithCancel(ctx)
	cfg.OnEvent(injector.Event{Time: noon, Kind: injector.Ready})
	for _, server := range w.opens {
		cfg.OnEvent(injector.Event{Time: noon, Kind: injector.Chosen, Flow: injector.Flow{Client: dbFlow.Client, Server: server}})
	}
	context.AfterFunc(ctx, func() { close(run.done) })
	return run
}

// noCgroup is what target.FindCgroup returns of a name.
type noCgroup string

func (n noCgroup) Error() string     { return fmt.Sprintf("there is not a cgroup v2 %q", string(n)) }
func (n noCgroup) Is(err error) bool { return err == injector.ErrConfig }
