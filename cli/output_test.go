package cli

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/proctest"
	"github.com/faultctl/faultctl/internal/version"
)

// theVersion stands where the version is, which is none of a test's business.
func theVersion(s string) string { return strings.ReplaceAll(s, `"`+version.String()+`"`, `"VERSION"`) }

func TestEvents(t *testing.T) {
	w := newWorld(t)
	t.Setenv("SSH_CONNECTION", "10.0.0.1 4000 10.0.0.2 22")
	oneFired(w, "idle-expire")
	if code := w.faultctl("inject idle-expire --after 300s --to :5432 --to !10.0.0.9 --from 10.0.0.0/8 --duration 60s -o json"); code != exitOK {
		t.Fatalf("exit %d\n%s", code, &w.err)
	}
	golden(t, "events.ndjson", theVersion(w.out.String()))
	for _, line := range strings.Split(strings.TrimSpace(w.out.String()), "\n") {
		var ev struct {
			Time  time.Time `json:"time"`
			Event string    `json:"event"`
		}
		if err := json.Unmarshal([]byte(line), &ev); err != nil || ev.Event == "" || ev.Time.IsZero() {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestEventsUntargeted(t *testing.T) {
	w := newWorld(t)
	w.faultctl("inject reset,syn-drop:attempts=1 -o json")
	golden(t, "events-untargeted.ndjson", theVersion(w.out.String()))
}

func TestText(t *testing.T) {
	w := newWorld(t)
	t.Setenv("SSH_CONNECTION", "10.0.0.1 4000 10.0.0.2 22")
	oneFired(w, "idle-expire")
	w.session.events = append(w.session.events,
		injector.Event{Time: noon.Add(1300 * time.Millisecond), Kind: injector.Fired, Fault: "idle-expire", Flow: dbFlow,
			Action: faults.Held, To: faults.Both, Reason: "it is forgotten"},
		injector.Event{Time: noon.Add(1400 * time.Millisecond), Kind: injector.Fired, Fault: "idle-expire", Flow: dbFlow,
			Action: faults.Dropped, To: faults.Both, Reason: "it is gone"})
	w.session.stats.Overruns, w.session.stats.Lost = 1, 2
	w.session.stats.SetFull, w.session.stats.Cut, w.session.stats.Forgotten = 3, 4, 5
	w.faultctl("inject idle-expire --after 300s --to :5432 --from 10.0.0.0/8 --duration 60s --start-after 5s")
	golden(t, "text.txt", w.out.String())
}

func TestTextNeverFired(t *testing.T) {
	for name, rule := range map[string]injector.RuleStats{
		"no-match.txt":  {},
		"no-choice.txt": {Flows: 3},
		"no-moment.txt": {Flows: 3, Chosen: 2},
	} {
		w := newWorld(t)
		rule.Faults = []injector.FaultStats{{Name: "reset"}}
		w.session.stats.Rules = []injector.RuleStats{rule}
		w.faultctl("inject reset --to :5432 --duration 60s --expect-fired")
		golden(t, name, w.out.String())
	}
}

func TestTextUntargeted(t *testing.T) {
	w := newWorld(t)
	w.faultctl("inject idle-expire --after 300s")
	first, _, _ := strings.Cut(w.out.String(), "\n")
	for _, want := range []string{"every TCP connection", "of this network namespace", "except the protected ones", "15m", "--duration"} {
		if !strings.Contains(first, want) {
			t.Errorf("the first line does not say %q: %s", want, first)
		}
	}
}

// In another namespace the answer to "why not" names it.
func TestTextNeverFiredElsewhere(t *testing.T) {
	w := newWorld(t)
	w.faultctl("inject reset --netns /proc/self/ns/net --duration 1s")
	if want := "reset never fired: no TCP packet crossed the network namespace /proc/self/ns/net."; !strings.Contains(w.out.String(), want) {
		t.Errorf("no %q in\n%s", want, &w.out)
	}
}

// A live line that is wider than the terminal would wrap, and could not be
// cleared.
func TestLiveLineNarrow(t *testing.T) {
	for width, want := range map[int]string{1: "", 11: "0 chosen, ", 20: "0 chosen, 0 fired", 99: "0 connections matched, 0 chosen, 0 fired; 0 packets judged"} {
		var b strings.Builder
		tell := textPrinter{w: &b, live: true, width: 60, screen: func() int { return width }}
		tell.tick(injector.Snapshot{}, 0, 0)
		if b.String() != want {
			t.Errorf("on %d columns: %q, want %q", width, b.String(), want)
		}
	}
}

// untilTwo has a run end when it has waited twice for a time that comes at once.
func (w *world) untilTwo(every time.Duration) {
	ticks, end := 0, make(chan struct{})
	w.sys.After = func(d time.Duration) <-chan time.Time {
		c := make(chan time.Time, 1)
		if d == every && ticks < 2 {
			ticks++
			c <- noon
		} else if d == every {
			close(end)
		}
		return c
	}
	w.session.played = func() { <-end; w.signal <- os.Interrupt }
}

// On a terminal the counters stand in a live line below the events, which the
// summary replaces.
func TestLiveLine(t *testing.T) {
	w := newWorld(t)
	w.terminal = true
	w.untilTwo(time.Second)
	t.Setenv("NO_COLOR", "1")
	w.faultctl("inject reset --to :80 --duration 1m")
	// Events may come between two ticks; then the line is drawn once more below them.
	const live = "0 connections matched, 0 chosen, 0 fired; 0 packets judged; 2s elapsed, 59s left\r\x1b[K"
	if out := w.out.String(); strings.Count(out, live) < 2 || !strings.Contains(out, live+"\nended") {
		t.Errorf("no live line %q in\n%q", live, out)
	}
}

// Where there is no terminal a plain line says now and then how far it is.
func TestProgressLines(t *testing.T) {
	w := newWorld(t)
	w.progress = 7 * time.Second
	w.untilTwo(w.progress)
	w.faultctl("inject reset --to :80 --duration 1m")
	const line = "\n12:00:01.500  so far: 0 connections matched, 0 chosen, 0 fired; 0 packets judged; 2s elapsed, 59s left\n"
	if out := w.out.String(); strings.Count(out, line[1:]) != 2 || strings.Contains(out, "\r") {
		t.Errorf("no two lines %q in\n%q", line, out)
	}
}

func TestNoColor(t *testing.T) {
	for value, coloured := range map[string]bool{"": true, "1": false} {
		w := newWorld(t)
		w.terminal = true
		t.Setenv("NO_COLOR", value)
		w.faultctl("faults reset")
		if got := strings.Contains(w.out.String(), "\x1b["); got != coloured {
			t.Errorf("NO_COLOR=%q: coloured is %v", value, got)
		}
	}
}

func TestDryRun(t *testing.T) {
	w := newWorld(t)
	t.Setenv("SSH_CONNECTION", "10.0.0.1 4000 10.0.0.2 5432")
	proctest.Net(t, w.sys.Proc, "self",
		proctest.Conn("10.0.0.2:5432", "10.0.0.1:4000", "1"), // protected
		proctest.Conn("10.0.0.2:5432", "10.0.0.9:4001", "2"),
		proctest.Conn("127.0.0.1:4002", "127.0.0.1:5432", "3"),
		proctest.Conn("127.0.0.1:5432", "127.0.0.1:4002", "4"), // the other end
		proctest.Conn("10.0.0.2:4003", "10.0.0.7:80", "5"),     // no target
		proctest.Conn("[fd00::2]:4004", "[fd00::5]:5432", "6"),
	)
	w.probe = func() []injector.Feature {
		return []injector.Feature{{Name: "queue rule", OK: true, Detail: "xt's NFQUEUE target"}}
	}
	if code := w.faultctl("inject reset --to :5432 --percent 10 --dry-run"); code != exitOK {
		t.Fatalf("exit %d\n%s", code, &w.err)
	}
	golden(t, "dry-run.txt", w.out.String())
	w.out.Reset()
	w.faultctl("inject reset --to :5432 --dry-run -o json")
	golden(t, "dry-run.json", w.out.String())
}

// TestDryRunOwner holds that connections of others are not shown as those that
// would be struck.
func TestDryRunOwner(t *testing.T) {
	w := newWorld(t)
	of := func(uid, line string) string {
		return strings.Replace(line, "     0        0 ", "  "+uid+"        0 ", 1)
	}
	proctest.Net(t, w.sys.Proc, "self",
		of("1000", proctest.Conn("10.0.0.2:4001", "10.0.0.9:5432", "1")),
		of("1000", proctest.Conn("10.0.0.2:4002", "10.0.0.9:5432", "2")),
		of("7", proctest.Conn("10.0.0.2:4003", "10.0.0.9:5432", "3")))
	proctest.Process(t, w.sys.Proc, "50", 1, 1, "2", "3")
	group := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(group, "sub"), 0o755), os.WriteFile(filepath.Join(group, "sub", "cgroup.procs"), []byte("50\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	w.sys.FindCgroup = func(string) (*target.Cgroup, error) {
		return &target.Cgroup{Path: "app", Dir: group, ID: 7, Level: 1}, nil
	}
	for flags, ports := range map[string]string{
		"":                          "4001 4002 4003",
		"--uid 1000":                "4001 4002",
		"--cgroup /app":             "4002 4003",
		"--cgroup /app --uid 1000":  "4002",
		"--uid 4":                   "",
		"--netns /proc/self/ns/net": "", // nobody of this /proc lives there
	} {
		w.out.Reset()
		w.faultctl("inject reset --to :5432 --dry-run -o json " + flags)
		var got struct {
			Connections []event.Ends
			Unknown     string
		}
		if err := json.Unmarshal(w.out.Bytes(), &got); err != nil {
			t.Fatalf("%s: %v\n%s%s", flags, err, &w.out, &w.err)
		}
		var found []string
		for _, f := range got.Connections {
			found = append(found, strings.TrimPrefix(f.Client, "10.0.0.2:"))
		}
		if s := strings.Join(found, " "); s != ports || (got.Connections == nil) != (got.Unknown != "") {
			t.Errorf("%s: %q, want %q; unknown: %q", flags, s, ports, got.Unknown)
		}
	}
	w.out.Reset()
	if w.runs(t, "run reset --to :5432 --dry-run", "true"); strings.Contains(w.out.String(), "4001") || !strings.Contains(w.out.String(), "connections that the command will open") {
		t.Errorf("connections of others than the command:\n%s", &w.out)
	}
}

func TestDoctor(t *testing.T) {
	w := newWorld(t)
	features := []injector.Feature{
		{Name: "linux", OK: true, Needed: true, Detail: "Linux 6.18", Remedy: "unseen"},
		{Name: "nftables", Needed: true, Detail: "create an nftables table: permission denied", Remedy: "run as root, or in a user and network namespace of your own: faultctl run, verify and demo make one"},
		{Name: "raw socket", Needed: true, Detail: "open raw socket: permission denied", Remedy: "run as root, or in a user and network namespace of your own: faultctl run, verify and demo make one"},
		{Name: "table owner", Detail: "the rules die with the process", Remedy: "Linux 5.12 or newer has it"},
	}
	w.probe = func() []injector.Feature { return features }
	if code := w.faultctl("doctor"); code != exitPreflight {
		t.Errorf("exit %d", code)
	}
	golden(t, "doctor.txt", w.out.String())
	w.out.Reset()
	if code := w.faultctl("doctor -o json"); code != exitPreflight {
		t.Errorf("exit %d", code)
	}
	golden(t, "doctor.json", w.out.String())
	features[1].Denied, features[2].Denied = true, true
	w.out.Reset()
	if code := w.faultctl("doctor"); code != exitPreflight {
		t.Errorf("exit %d", code)
	}
	if s := w.out.String(); strings.Contains(s, "cannot work here") || !strings.Contains(strings.Join(strings.Fields(s), " "), "run, verify and demo create a namespace") {
		t.Errorf("without root nothing is said to work:\n%s", s)
	}
	features = features[:1]
	if code := w.faultctl("doctor"); code != exitOK {
		t.Errorf("exit %d when nothing is missing", code)
	}
}

func TestCleanup(t *testing.T) {
	w := newWorld(t)
	w.faultctl("cleanup")
	w.cleanup = func() ([]string, error) { return []string{"faultctl_7"}, nil }
	w.faultctl("cleanup")
	const want = "nothing to clean up: no table or cgroup of a process that is gone\nremoved table faultctl_7\n"
	if got := w.out.String(); got != want {
		t.Errorf("got %q", got)
	}
	w.cleanup = func() ([]string, error) { return nil, injector.ErrPermission }
	if code := w.faultctl("cleanup"); code != exitPreflight || !strings.Contains(w.err.String(), "CAP_NET_ADMIN") {
		t.Errorf("exit %d: %s", code, &w.err)
	}
}

func TestVersion(t *testing.T) {
	for _, line := range []string{"version", "--version", "-v"} {
		w := newWorld(t)
		if code := w.faultctl(line); code != exitOK || !strings.HasPrefix(w.out.String(), "faultctl "+version.String()) {
			t.Errorf("%s: exit %d, %s", line, code, &w.out)
		}
	}
	w := newWorld(t)
	var b version.Build
	if w.faultctl("version -o json"); json.Unmarshal(w.out.Bytes(), &b) != nil || b != version.Read() {
		t.Errorf("%s", &w.out)
	}
}
