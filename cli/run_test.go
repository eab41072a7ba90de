package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/internal/cage"
	"github.com/faultctl/faultctl/internal/rights"
)

// runs runs faultctl with a command behind --, in a cage that holds nothing.
func (w *world) runs(t *testing.T, flags string, command ...string) int {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w.childOut, w.childErr = out, out
	args := append(append([]string{"faultctl"}, strings.Fields(flags)...), "--")
	code := w.run(append(args, command...))
	text, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	w.child = string(text)
	if w.cage != nil && (w.cage.emptied != w.cage.started || !w.cage.given) {
		t.Errorf("%s -- %q: the cage was left: %+v", flags, command, *w.cage)
	}
	return code
}

// pipe is one that ends with the test, at the latest.
func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Close()
		w.Close()
	})
	return r, w
}

// never is a timer that does not come.
var never = map[time.Duration]func(){-1: nil}

// TestRunStatus holds run's exit codes: CMD's whenever it is not 0, else 0, or
// 124 where the fault never fired, and 125 to 127 for what kept CMD from running.
func TestRunStatus(t *testing.T) {
	for _, tc := range []struct {
		flags   string
		fired   bool
		command []string
		want    int
	}{
		{"run reset", true, []string{"true"}, 0},
		{"run reset", false, []string{"true"}, 124},
		{"run reset --allow-idle", false, []string{"true"}, 0},
		{"run reset --expect-fired=false", false, []string{"true"}, 0},
		{"run reset", false, []string{"sh", "-c", "exit 4"}, 4},
		{"run reset", true, []string{"sh", "-c", "exit 5"}, 5},
		{"run reset", true, []string{"sh", "-c", "kill -TERM $$"}, 143},
		{"run reset", true, []string{"sh", "-c", "kill -KILL $$"}, 137},
		{"run reset", true, []string{"no-such-command"}, 127},
		{"run reset", true, []string{"/etc/passwd"}, 126},
		{"run reset", true, []string{"/tmp"}, 126},
		{"run --fault reset", true, []string{"true"}, 0},
		{"run --to :80 reset:at=request", true, []string{"true"}, 0},
		{"run", true, []string{"true"}, 125},
		{"run rset", true, []string{"true"}, 125},
		{"run reset --to :0", true, []string{"true"}, 125},
		{"run reset true", true, []string{"true"}, 125},
		{"run reset", true, nil, 125},
		{"run reset --cgroup /app", true, []string{"true"}, 125},
		{"run reset --timeout 5", true, []string{"true"}, 125},
	} {
		w := newWorld(t)
		w.timers = never
		if tc.fired {
			oneFired(w, "reset")
		}
		if got := w.runs(t, tc.flags, tc.command...); got != tc.want {
			t.Errorf("%s -- %q, fired %v: exit %d, want %d\n%s", tc.flags, tc.command, tc.fired, got, tc.want, &w.err)
		}
	}
}

// TestRunReadyLate holds that the command is started although the injector tells of
// ready only after it has started.
func TestRunReadyLate(t *testing.T) {
	w := newWorld(t)
	w.timers = never
	oneFired(w, "reset")
	w.session.late = true
	if code := w.runs(t, "run reset", "true"); code != exitOK || w.cage.started != 1 {
		t.Errorf("exit %d, started %d\n%s", code, w.cage.started, &w.err)
	}
}

// TestRunStartAfter holds that a command which starts before its faults is told of
// behind the run that it belongs to, and that its failure to start is the run's.
func TestRunStartAfter(t *testing.T) {
	w := newWorld(t)
	w.timers = never
	if code := w.runs(t, "run reset --start-after 1m -o json", "true"); code != 124 {
		t.Errorf("exit %d\n%s", code, &w.err)
	}
	var events []string
	for line := range strings.Lines(w.out.String()) {
		var ev struct{ Event string }
		if err := json.Unmarshal([]byte(line), &ev); err != nil {
			t.Fatal(err)
		}
		events = append(events, ev.Event)
	}
	if got := strings.Join(events, " "); got != "started command exited ended" {
		t.Errorf("events %s", got)
	}
	w = newWorld(t)
	w.timers = never
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/no/such/interpreter\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if code := w.runs(t, "run reset --start-after 1m", script); code != 127 || !strings.Contains(w.err.String(), "its interpreter") {
		t.Errorf("exit %d\n%s", code, &w.err)
	}
}

// TestRunErrorEvent holds that 125 to 127 are explained on stdout where events
// are asked for.
func TestRunErrorEvent(t *testing.T) {
	for flags, want := range map[string]struct{ outcome, code int }{
		"run reset -o json --to :0": {125, 2},
		"run reset -o json":         {127, 127},
	} {
		w := newWorld(t)
		outcome := w.runs(t, flags, "no-such-command")
		lines := strings.Split(strings.TrimSpace(w.out.String()), "\n")
		var ev struct {
			Event string
			Code  int
		}
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &ev); err != nil || ev.Event != "error" || ev.Code != want.code || outcome != want.outcome {
			t.Errorf("%s: exit %d, %+v, %v; want %+v\n%s", flags, outcome, ev, err, want, &w.out)
		}
	}
	w := newWorld(t)
	w.session.err = injector.ErrPermission
	if code := w.runs(t, "run reset -o json", "true"); code != 125 || !strings.Contains(w.out.String(), `"code":5`) {
		t.Errorf("exit %d\n%s", code, &w.out)
	}
}

// TestRunOutput holds that CMD's output is its own: what faultctl says goes to
// stderr, and with events on stdout CMD's output goes to stderr too.
func TestRunOutput(t *testing.T) {
	w := newWorld(t)
	w.timers = never
	oneFired(w, "reset")
	if code := w.runs(t, "run reset --to :5432", "echo", "hello"); code != 0 || w.child != "hello\n" || w.out.Len() > 0 {
		t.Errorf("exit %d, CMD's output %q, stdout %q", code, w.child, &w.out)
	}
	golden(t, "run.txt", w.err.String())

	w = newWorld(t)
	w.timers = never
	oneFired(w, "reset")
	struck := w.session.events[1:]
	w.session.events = w.session.events[:1]
	in, end := pipe(t)
	w.childIn = in
	told := make(chan struct{})
	w.stdout = &listener{w: &w.out, text: `"event":"command"`, heard: sync.OnceFunc(func() { close(told) })}
	w.session.played = func() { // what strikes the command comes while it runs
		<-told
		for _, ev := range struck {
			w.cfg.OnEvent(ev)
		}
		end.Close()
	}
	if code := w.runs(t, "run reset --to :5432 -o json", "sh", "-c", "cat; echo hello"); code != 0 {
		t.Errorf("exit %d", code)
	}
	golden(t, "run.ndjson", theVersion(w.out.String()))
	if w.err.Len() > 0 {
		t.Errorf("stderr: %s", &w.err)
	}
	for i, line := range bytes.Split(bytes.TrimSpace(w.out.Bytes()), []byte("\n")) {
		if !json.Valid(line) {
			t.Errorf("line %d: %s", i+1, line)
		}
	}
}

// TestRunOwner holds that the rules are about the cage's processes only, and
// that CMD starts only once they are in.
func TestRunOwner(t *testing.T) {
	w := newWorld(t)
	w.timers = never
	file := filepath.Join(t.TempDir(), "started")
	w.session.events = nil
	w.session.begun = func() {
		if _, err := os.Stat(file); err == nil {
			t.Error("the command ran before the rules were in")
		}
		w.cfg.OnEvent(injector.Event{Kind: injector.Ready})
	}
	w.runs(t, "run reset --allow-idle", "touch", file)
	if _, err := os.Stat(file); err != nil {
		t.Error("the command did not run")
	}
	if c := w.cfg.Rules[0].Match.Owner.Cgroup; c == nil || c.ID != 9 {
		t.Errorf("rules about %+v", c)
	}
	named := newWorld(t) // a host name is looked up anew just before the rules go in
	named.timers = never
	named.runs(t, "run reset --allow-idle --to db.internal:5432", "true")
	if m := named.cfg.Rules[0].Match; m.Owner.Cgroup == nil || len(m.To) != 2 {
		t.Errorf("with a host name the rules are about %+v", m)
	}
	if strings.Contains(w.err.String(), "no target") {
		t.Errorf("a run with a cage says that it has no target:\n%s", &w.err)
	}
}

// TestRunTimeout holds that --timeout ends CMD, and --duration only the fault.
func TestRunTimeout(t *testing.T) {
	w := newWorld(t)
	w.timers = map[time.Duration]func(){time.Second: nil}
	oneFired(w, "reset")
	if code := w.runs(t, "run reset --timeout 1s", "sleep", "60"); code != 143 || !strings.Contains(w.err.String(), "stopped after 1s") {
		t.Errorf("exit %d\n%s", code, &w.err)
	}
	w = newWorld(t)
	w.timers = map[time.Duration]func(){time.Second: nil}
	oneFired(w, "reset")
	if code := w.runs(t, "run reset --duration 1s", "sh", "-c", "sleep 0.2; exit 9"); code != 9 {
		t.Errorf("exit %d\n%s", code, &w.err)
	}
	w = newWorld(t)
	w.timers = map[time.Duration]func(){time.Minute: nil} // never comes: CMD is faster
	w.sys.After = func(time.Duration) <-chan time.Time { return nil }
	if code := w.runs(t, "run reset --start-after 1m", "sh", "-c", "exit 9"); code != 9 || !strings.Contains(w.err.String(), "before the rules went in") {
		t.Errorf("exit %d\n%s", code, &w.err)
	}
}

// TestRunSignals holds that signals go to CMD, whose status then counts.
func TestRunSignals(t *testing.T) {
	w := newWorld(t)
	w.timers = never
	oneFired(w, "reset")
	ready := filepath.Join(t.TempDir(), "ready")
	go func() {
		for {
			if _, err := os.Stat(ready); err == nil {
				w.signal <- syscall.SIGTERM
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	script := `trap 'exit 42' TERM; : > ` + ready + `; while :; do sleep 0.01; done`
	if code := w.runs(t, "run reset", "sh", "-c", script); code != 42 {
		t.Errorf("exit %d\n%s", code, &w.err)
	}
}

// TestRunEarlySignal holds that a signal which came before CMD was there reaches it
// all the same, Ctrl-C too.
func TestRunEarlySignal(t *testing.T) {
	for s, want := range map[os.Signal]int{cage.FromTerminal(syscall.SIGINT): 130, syscall.SIGTERM: 143} {
		w := newWorld(t)
		w.timers = never
		oneFired(w, "reset")
		w.signal <- s
		if code := w.runs(t, "run reset --timeout 1m", "sleep", "60"); code != want {
			t.Errorf("%v: exit %d, want %d\n%s", s, code, want, &w.err)
		}
	}
}

// TestRunIsolated holds that a command which must not run here runs elsewhere,
// and its status comes back.
func TestRunIsolated(t *testing.T) {
	for _, flags := range []string{"run reset", "run reset --isolate"} {
		w := newWorld(t)
		w.mustIsolate = func() bool { return flags == "run reset" }
		w.enterCage = func(<-chan os.Signal, ...*os.File) (int, error) { return 77, nil }
		if code := w.runs(t, flags, "true"); code != 77 {
			t.Errorf("%s: exit %d\n%s", flags, code, &w.err)
		}
		w = newWorld(t)
		w.sys.Caged = true
		w.timers = never
		if w.runs(t, flags+" -o json", "true"); !strings.Contains(w.out.String(), `"netns":"isolated"`) {
			t.Errorf("%s: the events do not say where the command ran\n%s", flags, &w.out)
		}
		w = newWorld(t)
		w.sys.Caged = true
		oneFired(w, "reset")
		w.timers = never
		if code := w.runs(t, flags, "true"); code != 0 || !strings.Contains(strings.Join(strings.Fields(w.err.String()), " "), "a network namespace of its own") {
			t.Errorf("%s: exit %d\n%s", flags, code, &w.err)
		}
	}
	w := newWorld(t)
	w.mustIsolate = func() bool { return true }
	if code := w.runs(t, "run reset --netns blue", "true"); code != 125 || !strings.Contains(w.err.String(), "--netns needs root") {
		t.Errorf("exit %d\n%s", code, &w.err)
	}
	w = newWorld(t)
	w.mustIsolate = func() bool { return true }
	w.rights = func() rights.Rights { return rights.Rights{} }
	if code := w.runs(t, "verify --pid 7", "true"); code != exitPreflight || !strings.Contains(w.err.String(), "sudo") {
		t.Errorf("verify --pid without root: exit %d\n%s", code, &w.err)
	}
	if code := newWorld(t).runs(t, "run reset --container web --isolate", "true"); code != 125 {
		t.Errorf("--container with --isolate: exit %d", code)
	}
}

// TestMetricsOfInside holds that what runs in namespaces of its own has its
// counters served outside, where somebody can scrape them.
func TestMetricsOfInside(t *testing.T) {
	w := newWorld(t)
	w.mustIsolate = func() bool { return true }
	w.enterCage = func(_ <-chan os.Signal, hand ...*os.File) (int, error) {
		in := newWorld(t)
		in.sys.Caged, in.handed = true, hand[0]
		oneFired(in, "reset")
		in.timers = never
		in.session.played = func() {
			url, _, _ := strings.Cut(strings.TrimPrefix(in.err.String(), "faultctl: metrics on "), "\n")
			res, err := http.Get(url)
			if err != nil {
				t.Error(err)
				return
			}
			res.Body.Close()
			if len(in.cfg.Rules[0].Match.Except) != 0 {
				t.Errorf("ports of a namespace in which nobody is scraped are spared: %+v", in.cfg.Rules[0].Match)
			}
		}
		return in.runs(t, "run reset --metrics 192.0.2.1:9", "true"), nil
	}
	if code := w.runs(t, "run reset --metrics 127.0.0.1:0", "true"); code != 0 {
		t.Errorf("exit %d\n%s", code, &w.err)
	}
	w.enterCage = nil
	if code := w.runs(t, "verify --metrics 192.0.2.1:9", "true"); code != exitUsage || !strings.Contains(w.err.String(), "no address of this host") {
		t.Errorf("exit %d\n%s", code, &w.err)
	}
}

// TestRepeatedCommand holds that the line which repeats a run has what was turned
// off, and the command as it is run.
func TestRepeatedCommand(t *testing.T) {
	w := newWorld(t)
	if w.runs(t, "run reset --to :80 --dry-run --expect-fired=false", "true"); !strings.Contains(w.out.String(), "--allow-idle --seed 42 -- true") {
		t.Errorf("the line that repeats it lacks what was turned off:\n%s", &w.out)
	}
	w.out.Reset()
	if w.runs(t, "run reset --to :80 --dry-run", "go", "test", "./..."); !strings.Contains(w.out.String(), "-- go test -count=1 ./...") {
		t.Errorf("nobody is told:\n%s", &w.out)
	}
}

// listener tells when a text is written.
type listener struct {
	w     io.Writer
	text  string
	heard func()
}

func (l *listener) Write(b []byte) (int, error) {
	n, err := l.w.Write(b)
	if bytes.Contains(b, []byte(l.text)) {
		l.heard()
	}
	return n, err
}
