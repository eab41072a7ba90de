package survival

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/evidence"
	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/cage"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 5, time.UTC)

// world is a System in which nothing is touched: commands run for real, in cages
// that hold nothing, and faults do what the test says.
type world struct {
	*experiment.System
	fires     bool                       // every fault acts on one of two connections, which is survived
	settled   *outcome.Tally             // what the strikes come to, instead; nil: nothing, or what fires says
	settledOf map[string]*outcome.Tally  // by fault, instead
	lost      uint64                     // events that came too fast in a run that only watches
	opens     []string                   // services of the connections that a command opens which is only watched
	watched   []injector.Config          // of each run that only watches
	flows     uint64                     // connections that match where none fires
	chosen    uint64                     // of these, chosen
	started   []injector.Config          // of each run
	begun     func()                     // when the rules are in
	refuses   error                      // of every start
	cages     []*openCage                // in the order in which they were made
	limits    []time.Duration            // waited for
	over      map[time.Duration]struct{} // waits that are over at once; others never are

	running int // commands
	most    int // that have run at the same time

	mu sync.Mutex
}

func newWorld() *world {
	w := &world{opens: []string{dbFlow.Server}, over: map[time.Duration]struct{}{}}
	w.System = &experiment.System{
		Host: place.Host{
			Proc: "/nowhere", Now: func() time.Time { return noon }, After: w.after, Getenv: func(string) string { return "" },
			Local: func() []netip.Addr { return nil },
		},
		Seed:  func() uint64 { return 42 },
		Start: w.start,
		Lookup: func(context.Context, string) ([]netip.Addr, error) {
			return nil, errors.New("no such host")
		},
		FindNAT:      func(*os.File) (injector.NAT, error) { return injector.NAT{}, nil },
		Translations: func(*os.File, target.Matcher) ([]injector.Translation, error) { return nil, nil },
		MakeCage: func(*os.File) (cage.Cage, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			c := &openCage{w: w}
			w.cages = append(w.cages, c)
			return c, nil
		},
		Foreseen: func() target.Owner { return new(openCage).Owner() },
	}
	return w
}

func (w *world) after(d time.Duration) <-chan time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.limits = append(w.limits, d)
	c := make(chan time.Time, 1)
	if _, is := w.over[d]; is {
		c <- noon
	}
	return c
}

func (w *world) start(ctx context.Context, cfg injector.Config) (experiment.Engine, error) {
	if w.refuses != nil {
		return nil, w.refuses
	}
	if cfg.Rules[0].Faults[0].Name == "observe" {
		return w.watch(ctx, cfg), nil
	}
	w.mu.Lock()
	w.started = append(w.started, cfg)
	w.mu.Unlock()
	e := &engine{done: make(chan struct{})}
	rule := injector.RuleStats{Flows: w.flows, Chosen: w.chosen}
	cfg.OnEvent(injector.Event{Time: noon, Kind: injector.Ready})
	for _, f := range cfg.Rules[0].Faults {
		stats := injector.FaultStats{Name: f.Name}
		if w.fires {
			rule.Flows, rule.Chosen, stats.Fired = 2, 1, 1
			stats.Settled = outcome.Tally{Struck: 1, Felt: 1, Furthest: felt}
			cfg.OnEvent(injector.Event{Time: noon, Kind: injector.Fired, Fault: f.Name, Flow: dbFlow, Action: faults.SentRST, To: faults.Client, Reason: "it was idle"})
		}
		if s := w.settledOf[f.Name]; s != nil {
			stats.Settled = *s
		} else if w.settled != nil {
			stats.Settled = *w.settled
		}
		rule.Faults = append(rule.Faults, stats)
	}
	e.stats = injector.Snapshot{Lost: 1, Rules: []injector.RuleStats{rule}}
	context.AfterFunc(ctx, func() { close(e.done) })
	if w.begun != nil {
		w.begun()
	}
	return e, nil
}

// watch is a run that only watches.
func (w *world) watch(ctx context.Context, cfg injector.Config) *engine {
	w.mu.Lock()
	w.watched = append(w.watched, cfg)
	w.mu.Unlock()
	e := &engine{done: make(chan struct{})}
	n := uint64(len(w.opens))
	e.stats = injector.Snapshot{Lost: w.lost, Rules: []injector.RuleStats{{Flows: n, Chosen: n, Faults: []injector.FaultStats{{Name: "observe"}}}}}
	cfg.OnEvent(injector.Event{Time: noon, Kind: injector.Ready})
	for _, server := range w.opens {
		cfg.OnEvent(injector.Event{Time: noon, Kind: injector.Chosen, Flow: injector.Flow{Client: dbFlow.Client, Server: server}})
	}
	context.AfterFunc(ctx, func() { close(e.done) })
	return e
}

var dbFlow = injector.Flow{Client: "10.0.0.1:43210", Server: "10.0.0.5:5432"}

// felt is the outcome of a strike that arrived and was felt.
var felt = outcome.Outcome{
	Struck: true, Sent: outcome.Step{Answer: outcome.Yes, Evidence: outcome.RawSent},
	Accepted: outcome.Step{Answer: outcome.Yes, Evidence: outcome.SocketGone}, Felt: outcome.Step{Answer: outcome.Yes, Evidence: outcome.AwaitedAnswer},
}

// engine lasts until its context is done.
type engine struct {
	stats injector.Snapshot
	done  chan struct{}
}

func (e *engine) Stats() injector.Snapshot                                          { return e.stats }
func (e *engine) Ruleset() string                                                   { return "" }
func (e *engine) Retarget(int, target.Matcher) error                                { return nil }
func (e *engine) SetShare(int, float64) error                                       { return nil }
func (e *engine) Strike(int, netip.AddrPort, netip.AddrPort) (injector.When, error) { return 0, nil }
func (e *engine) Spare(int, netip.AddrPort, netip.AddrPort) error                   { return nil }
func (e *engine) Unchosen(int, int) []injector.Flow                                 { return nil }
func (e *engine) SetModels(int, []injector.NamedModel) error                        { return nil }
func (e *engine) Pause() error                                                      { return nil }
func (e *engine) Resume() error                                                     { return nil }
func (e *engine) Stop() error                                                       { <-e.done; return nil }
func (e *engine) Done() <-chan struct{}                                             { return e.done }
func (e *engine) Wait() error                                                       { <-e.done; return nil }

// openCage is a cage that holds nothing.
type openCage struct {
	started, emptied, closed int

	w *world
}

func (c *openCage) Owner() target.Owner {
	return target.Owner{Cgroup: &target.Cgroup{Path: "faultctl-7-1", ID: 9, Level: 1}}
}
func (c *openCage) NetNS() *os.File { return nil }
func (c *openCage) Start(cmd *exec.Cmd) (cage.Process, error) {
	c.started++
	c.w.count(1)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return cage.Child(cmd), nil
}
func (c *openCage) Empty() error { c.emptied++; c.w.count(-1); return nil }
func (c *openCage) Close() error { c.closed++; return nil }

// count counts the commands that run.
func (w *world) count(by int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running += by
	w.most = max(w.most, w.running)
}

// diary is a watcher that writes down what it is told.
type diary struct {
	mu       sync.Mutex
	calls    []string // all, in order: an event by its name
	events   []event.Event
	attempts []Attempt
	results  []Result
	on       func(call string)
}

func (d *diary) note(call string) {
	d.mu.Lock()
	d.calls = append(d.calls, call)
	d.mu.Unlock()
	if d.on != nil {
		d.on(call)
	}
}

func (d *diary) Started(*Plan) { d.note("Started") }
func (d *diary) Running(a Attempt) {
	d.attempts = append(d.attempts, a)
	d.note("Running " + a.Name)
}
func (d *diary) Event(_ time.Time, e event.Event) {
	d.mu.Lock()
	d.events = append(d.events, e)
	d.mu.Unlock()
	d.note(e.Name())
}
func (d *diary) Result(r Result) {
	d.results = append(d.results, r)
	d.note("Result " + string(r.Verdict))
}
func (d *diary) Ended(cases []report.Case) { d.note("Ended") }

// verify plans and runs a Spec in the world.
func (w *world) verify(t *testing.T, ctx context.Context, s Spec, d *diary) (*Plan, []report.Case, error) {
	t.Helper()
	return w.leaving(t, ctx, s, d, nil)
}

func (w *world) leaving(t *testing.T, ctx context.Context, s Spec, d *diary, ev *evidence.Evidence) (*Plan, []report.Case, error) {
	t.Helper()
	p, err := NewPlan(ctx, w.System, s)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	cases, err := Run(ctx, p, place.Stage{}, ev, d)
	for i, c := range w.cages {
		if c.emptied != c.started || c.closed != 1 {
			t.Errorf("cage %d: %d commands were started, and it was emptied %d times and closed %d times", i, c.started, c.emptied, c.closed)
		}
	}
	return p, cases, err
}

// spec is the Spec of some words, with a blank between them, and of a command.
func spec(t *testing.T, words string, command ...string) Spec {
	t.Helper()
	s := Spec{Base: experiment.Spec{Command: command}}
	all := strings.Fields(words)
	for i := 0; i < len(all); i += 2 {
		if all[i] == "plan" {
			if err := s.ReadPlan(all[i+1], nil); err != nil {
				t.Fatal(err)
			}
		} else if err := s.Set(all[i], all[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// failsFrom is a command that exits with 1 from its nth run on.
func failsFrom(t *testing.T, n string) []string {
	file := filepath.Join(t.TempDir(), "runs")
	return []string{"sh", "-c", `echo run >> "$1"; n=$(wc -l < "$1"); echo "this is run $n"; [ "$n" -lt ` + n + ` ]`, "test", file}
}

func verdicts(cases []report.Case) string {
	var all []string
	for _, c := range cases {
		all = append(all, string(c.Verdict))
	}
	return strings.Join(all, ", ")
}

// open opens evidence that writes a report to the path.
func open(t *testing.T, path string) *evidence.Evidence {
	t.Helper()
	ev, err := evidence.Open(evidence.Config{Command: "verify", Reports: []string{path}, Now: func() time.Time { return noon }, Proc: "/nowhere", Warn: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	return ev
}
