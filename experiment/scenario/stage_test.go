package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/evidence"
	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
)

// stage is a system on which a scenario plays by a clock of its own: nothing
// happens for real, and time passes only when everybody waits for it.
type stage struct {
	*experiment.System
	began time.Time
	env   map[string]string
	hooks Hooks
	opts  Options

	mu      sync.Mutex
	log     []string // what was done to engines, and when
	lines   strings.Builder
	fires   uint64         // on how many connections each fault acts
	settled *outcome.Tally // what the strikes come to; nil: all were felt
	lacks   error          // what Preflight returns
	refuse  error          // what Start returns
	fails   func(probe string, at time.Duration) error
	stuck   chan struct{} // if not nil, an engine does not start before it is closed
	ticks   []string
}

func onStage(t *testing.T, test func(t *testing.T, st *stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		st := &stage{began: time.Now(), fires: 1, env: map[string]string{}}
		now := func() time.Time { return time.Now().UTC() }
		st.System = &experiment.System{
			Host: place.Host{
				Now: now, After: time.After, Proc: t.TempDir(), NetNSDirs: []string{t.TempDir()},
				Getenv: func(name string) string { return st.env[name] },
				Local: func() []netip.Addr {
					return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("10.0.0.1")}
				},
			},
			Seed:      func() uint64 { return 42 },
			Preflight: func(injector.Config) error { return st.lacks },
			Lookup:    func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("no such host") },
			FindNAT:   func(*os.File) (injector.NAT, error) { return injector.NAT{}, nil },
			Translations: func(*os.File, target.Matcher) ([]injector.Translation, error) {
				return nil, nil
			},
			MakeCage: func(*os.File) (place.Cage, error) { return nil, injector.ErrPermission },
		}
		st.Start = func(ctx context.Context, cfg injector.Config) (experiment.Engine, error) {
			if st.stuck != nil {
				<-st.stuck
			}
			if st.refuse != nil {
				return nil, st.refuse
			}
			e := &engine{st: st, cfg: cfg, done: make(chan struct{})}
			e.begin(ctx)
			return e, nil
		}
		st.hooks.Try = func(_ context.Context, p *Probe) error {
			if st.fails == nil {
				return nil
			}
			return st.fails(p.Name, time.Since(st.began))
		}
		test(t, st)
	})
}

func (st *stage) note(format string, args ...any) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.log = append(st.log, fmt.Sprintf("%v ", time.Since(st.began))+fmt.Sprintf(format, args...))
}

// plan plans a file.
func (st *stage) plan(t *testing.T, text string) (*Plan, error) {
	t.Helper()
	s, err := Parse("day.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return NewPlan(t.Context(), st.System, s, st.opts)
}

// play plays a file.
func (st *stage) play(t *testing.T, text string, ev *evidence.Evidence) Result {
	t.Helper()
	return st.playUnder(t.Context(), t, text, ev)
}

func (st *stage) playUnder(ctx context.Context, t *testing.T, text string, ev *evidence.Evidence) Result {
	t.Helper()
	p, err := st.plan(t, text)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	w := event.NewWriter(&st.lines)
	return Play(ctx, p, ev, &witness{Events(p, w.Write), st}, st.hooks)
}

// witness takes ticks down, and has everything else written.
type witness struct {
	Watcher
	st *stage
}

func (w *witness) Tick(_ time.Time, s injector.Snapshot, gone, left time.Duration) {
	line := fmt.Sprintf("%v %v", gone, left)
	for _, r := range s.Rules {
		line += fmt.Sprintf(" %d", r.Chosen)
	}
	w.st.ticks = append(w.st.ticks, line)
}

var dbFlow = injector.Flow{Client: "10.0.0.1:43210", Server: "10.0.0.5:5432"}

// settledOr is what the strikes on n connections came to: they were felt, unless
// the test says otherwise.
func (st *stage) settledOr(n uint64) outcome.Tally {
	if st.settled != nil {
		return *st.settled
	}
	if n == 0 {
		return outcome.Tally{}
	}
	yes := outcome.Step{Answer: outcome.Yes, Evidence: outcome.RawSent}
	return outcome.Tally{Struck: n, Felt: n, Furthest: outcome.Outcome{Struck: true, Sent: yes, Accepted: yes, Felt: yes}}
}

// engine is a run of the injector that says what is done to it.
type engine struct {
	st   *stage
	cfg  injector.Config
	done chan struct{}
	once sync.Once
	err  error
}

func (e *engine) fault() string { return e.cfg.Rules[0].Faults[0].Name }

func (e *engine) begin(ctx context.Context) {
	r, text := e.cfg.Rules[0], e.fault()
	if r.Pick.Share != (target.Share{}) {
		text += fmt.Sprintf(" %.4g%%", r.Pick.Share.Chance()*100)
	}
	if r.Pick.Max > 0 {
		text += fmt.Sprintf(" max %d", r.Pick.Max)
	}
	if r.Pick.Only != nil {
		text += " chosen"
	}
	if e.cfg.Seed != 42 {
		text += fmt.Sprintf(" seed %d", e.cfg.Seed)
	}
	e.st.note("start %s", text)
	now := time.Now().UTC()
	e.cfg.OnEvent(injector.Event{Time: now, Kind: injector.Ready})
	for range e.st.fires {
		e.cfg.OnEvent(injector.Event{Time: now, Kind: injector.Chosen, Flow: dbFlow})
		e.cfg.OnEvent(injector.Event{Time: now, Kind: injector.Fired, Fault: e.fault(), Flow: dbFlow, Action: faults.SentRST, To: faults.Client, Reason: "because"})
		if e.cfg.OnPacket != nil {
			e.cfg.OnPacket(injector.Packet{Time: now, Bytes: []byte{0}, Fate: injector.Forged, Fault: e.fault(), Flow: dbFlow, Ordinal: 4})
		}
	}
	context.AfterFunc(ctx, func() { e.Stop() })
}

func (e *engine) Stats() injector.Snapshot {
	rule := injector.RuleStats{Flows: e.st.fires, Chosen: e.st.fires}
	for _, f := range e.cfg.Rules[0].Faults {
		rule.Faults = append(rule.Faults, injector.FaultStats{Name: f.Name, Fired: e.st.fires, Settled: e.st.settledOr(e.st.fires)})
	}
	return injector.Snapshot{Diverted: 10, Rules: []injector.RuleStats{rule}}
}

func (e *engine) Stop() error {
	e.once.Do(func() {
		e.st.note("stop %s", e.fault())
		close(e.done)
	})
	return e.Wait()
}

func (e *engine) SetShare(_ int, share float64) error {
	e.st.note("share %s %.4g%%", e.fault(), share*100)
	return nil
}

// breaks ends the engine with an error.
func (e *engine) breaks(err error) {
	e.err = err
	e.Stop()
}

func (e *engine) Ruleset() string                                                   { return "table inet faultctl_1 {\n}\n" }
func (e *engine) Retarget(int, target.Matcher) error                                { return nil }
func (e *engine) Strike(int, netip.AddrPort, netip.AddrPort) (injector.When, error) { return 0, nil }
func (e *engine) Spare(int, netip.AddrPort, netip.AddrPort) error                   { return nil }
func (e *engine) Unchosen(int, int) []injector.Flow                                 { return nil }
func (e *engine) SetModels(int, []injector.NamedModel) error                        { return nil }
func (e *engine) Pause() error                                                      { return nil }
func (e *engine) Resume() error                                                     { return nil }
func (e *engine) Done() <-chan struct{}                                             { return e.done }
func (e *engine) Wait() error                                                       { <-e.done; return e.err }
