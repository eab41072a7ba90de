package experiment

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/containers"
)

// fakeSystem is a world in which engines do nothing but take down what they are
// asked to.
type fakeSystem struct {
	*System
	mu      sync.Mutex
	engines []*fakeEngine
	broken  error                   // what the next engines do not start with
	names   map[string][]netip.Addr // of the name server
	box     containers.Container    // the container web; no ID: there is none
}

func newFakeSystem(t *testing.T) *fakeSystem {
	t.Helper()
	w := &fakeSystem{System: NewSystem(), names: map[string][]netip.Addr{}}
	w.Proc = procOfContainer(t)
	w.Seed = func() uint64 { return 42 }
	w.Getenv = func(string) string { return "" }
	w.Local = func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("127.0.0.1")} }
	w.System.Start = w.start
	w.Shares = func(*os.File) error { return nil }
	w.Lookup = func(_ context.Context, name string) ([]netip.Addr, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if addrs, has := w.names[name]; has {
			return addrs, nil
		}
		return nil, errors.New("no such host")
	}
	w.FindNAT = func(*os.File) (injector.NAT, error) { return injector.NAT{}, nil }
	w.Translations = func(*os.File, target.Matcher) ([]injector.Translation, error) { return nil, nil }
	w.Container = func(_ context.Context, name string) (*containers.Container, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if box := w.box; box.ID != "" {
			return &box, nil
		}
		return nil, &containers.NotFound{Name: name}
	}
	w.WatchContainer = func(ctx context.Context, _ *containers.Container, _ string, _ func()) { <-ctx.Done() }
	return w
}

// containerID is the container web's.
var containerID = strings.Repeat("0123456789abcdef", 4)

// procOfContainer makes a /proc with process 7 of the container web. Namespaces
// cannot be made here: what counts is that they are files of nsfs.
func procOfContainer(t *testing.T) (proc string) {
	t.Helper()
	proc = t.TempDir()
	for pid, ns := range map[string]string{"7": "net", "self": "uts"} {
		dir := filepath.Join(proc, pid, "ns")
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.Symlink("/proc/self/ns/"+ns, filepath.Join(dir, "net"))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(proc, "7", "cgroup"), []byte("0::/system.slice/docker-"+containerID+".scope\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return proc
}

// run has the container web run, started for the nth time; 0: it is gone.
func (w *fakeSystem) runContainer(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.box = (containers.Container{}); n > 0 {
		w.box = containers.Container{ID: containerID, Name: "web", Running: true, Pid: 7, Started: fmt.Sprint(n)}
	}
}

func (w *fakeSystem) resolve(name string, addrs ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.names[name] = nil
	for _, a := range addrs {
		w.names[name] = append(w.names[name], netip.MustParseAddr(a))
	}
}

// start is System.Start.
func (w *fakeSystem) start(ctx context.Context, cfg injector.Config) (Engine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return nil, w.broken
	}
	ctx, stop := context.WithCancel(ctx)
	e := &fakeEngine{cfg: cfg, stop: stop, done: make(chan struct{}), fails: map[string]error{}}
	context.AfterFunc(ctx, func() { close(e.done) })
	w.engines = append(w.engines, e)
	cfg.OnEvent(injector.Event{Time: w.Now(), Kind: injector.Ready})
	return e, nil
}

// engine is the nth engine, counted from 0, once there is one.
func (w *fakeSystem) engine(t *testing.T, n int) *fakeEngine {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.engines) <= n {
		t.Fatalf("%d engines were started, want more than %d", len(w.engines), n)
	}
	return w.engines[n]
}

// begin starts a run of a Spec that ends with the test.
func (w *fakeSystem) begin(t *testing.T, s Spec) *Run {
	t.Helper()
	p, err := w.Plan(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Start(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Stop()
		p.Close()
	})
	return r
}

// fakeEngine takes down what it is asked to do.
type fakeEngine struct {
	cfg  injector.Config
	stop context.CancelFunc
	done chan struct{}

	mu    sync.Mutex
	did   []string
	fails map[string]error // by the first word of what it is asked to do
}

func (e *fakeEngine) do(word, rest string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.fails[word]; err != nil {
		return err
	}
	e.did = append(e.did, strings.TrimSpace(word+" "+rest))
	return nil
}

// fail has the engine refuse what begins with that word from now on; nil: no more.
func (e *fakeEngine) fail(word string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fails[word] = err
}

// took returns what it did since it was last asked.
func (e *fakeEngine) took() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	did := strings.Join(e.did, "; ")
	e.did = nil
	return did
}

func (e *fakeEngine) Stats() injector.Snapshot { return injector.Snapshot{} }
func (e *fakeEngine) Ruleset() string          { return "" }
func (e *fakeEngine) Done() <-chan struct{}    { return e.done }
func (e *fakeEngine) Wait() error              { <-e.done; return nil }
func (e *fakeEngine) Stop() error              { e.stop(); return e.Wait() }
func (e *fakeEngine) Pause() error             { return e.do("pause", "") }
func (e *fakeEngine) Resume() error            { return e.do("resume", "") }
func (e *fakeEngine) SetShare(rule int, share float64) error {
	return e.do("share", fmt.Sprint(rule, " ", share))
}
func (e *fakeEngine) Strike(int, netip.AddrPort, netip.AddrPort) (injector.When, error) {
	return 0, nil
}
func (e *fakeEngine) Spare(int, netip.AddrPort, netip.AddrPort) error { return nil }
func (e *fakeEngine) Unchosen(int, int) []injector.Flow               { return nil }
func (e *fakeEngine) SetModels(rule int, models []injector.NamedModel) error {
	return e.do("models", fmt.Sprint(rule, " ", specsOf(models)))
}
func (e *fakeEngine) Retarget(rule int, m target.Matcher) error {
	return e.do("retarget", fmt.Sprint(rule, " ", matcherText(m)))
}

func specsOf(models []injector.NamedModel) string {
	var all []string
	for _, m := range models {
		s, _ := faults.SpecOf(m.Model)
		all = append(all, s.String())
	}
	return strings.Join(all, " ")
}

func matcherText(m target.Matcher) string {
	var all []string
	for _, e := range m.To {
		host := ""
		if e.Prefix.IsValid() {
			host = e.Prefix.Addr().String()
		}
		all = append(all, fmt.Sprintf("%s:%d", host, e.LowPort))
	}
	for _, f := range m.From {
		all = append(all, "from "+f.String())
	}
	return strings.Join(all, " ")
}

// told lists the events of a run that is over, by their names, those of changes
// with what was changed.
func told(r *Run) (all []string) {
	for e := range r.Events() {
		switch e := e.(type) {
		case event.Changed:
			all = append(all, "changed "+strings.Join(slices.Clone([]string(e.Set)), " "))
		case event.Target:
			all = append(all, "target "+e.Target)
		default:
			all = append(all, e.Name())
		}
	}
	return all
}

func idleExpire(settings ...string) faults.Spec {
	s := faults.Spec{Name: "idle-expire", Knobs: [][2]string{{"after", "5m"}}}
	for _, kv := range settings {
		knob, value, _ := strings.Cut(kv, "=")
		s.Knobs = append(s.Knobs, [2]string{knob, value})
	}
	return s
}

func spec(change ...func(*Spec)) Spec {
	s := Spec{Faults: []faults.Spec{idleExpire()}, Target: Target{To: []string{":5432"}}, Duration: new(time.Duration)}
	for _, c := range change {
		c(&s)
	}
	return s
}
