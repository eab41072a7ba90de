package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
)

// readReport reads a report in JSON.
func readReport(t *testing.T, path string) (r report.Report) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReportOfARun(t *testing.T) {
	w := newWorld(t)
	oneFired(w, "idle-expire")
	w.session.stats.Overruns = 2
	w.session.stats.Latency = injector.Histogram{Bounds: []time.Duration{time.Millisecond}, Counts: []uint64{3, 0}, Max: 12 * time.Microsecond}
	path := filepath.Join(t.TempDir(), "r.json")
	if code := w.faultctl("inject idle-expire --after 300s --to :5432 --duration 60s --report " + path); code != exitOK {
		t.Fatalf("exit %d: %s", code, &w.err)
	}
	r := readReport(t, path)
	if len(r.Cases) != 1 || r.Seed != 42 || !strings.HasPrefix(r.Command, "faultctl inject idle-expire") || strings.Contains(r.Command, path) {
		t.Fatalf("%+v", r)
	}
	if r.Late != "99 % of the verdicts came within 12µs, the latest after 12µs" {
		t.Errorf("late: %q", r.Late)
	}
	if len(r.Flaws) != 1 || !strings.HasPrefix(r.Flaws[0], "2 packets passed without being judged") {
		t.Errorf("flaws: %q", r.Flaws)
	}
	c := r.Cases[0]
	if c.Name != "idle-expire:after=300s" || c.Fault != "idle-expire" || c.Verdict != report.Unclear || !strings.Contains(c.Reason, "2 packets passed unjudged") || len(c.Faults) != 1 || c.Faults[0].Fired != 1 {
		t.Errorf("%+v", c)
	}
	if len(c.Events) > 0 && (c.Events[0].Client != "" || c.Events[0].Kind != "ready") {
		t.Errorf("%+v", c.Events[0])
	}
	if len(c.Events) != 3 || c.Events[2].Kind != "fired" || c.Events[2].Reason != "it was idle" || c.Events[2].Client != dbFlow.Client {
		t.Errorf("%+v", c.Events)
	}
}

// TestReportSaysSo holds that a fault which never fired, a run that failed and
// one that was interrupted are in the report, in every form, with the exit code
// that they had without.
func TestReportSaysSo(t *testing.T) {
	for name, tc := range map[string]struct {
		prepare func(*world)
		code    int
		want    string
	}{
		"never fired": {func(*world) {}, exitNotFired, "reset never fired: no packet belonged to connections to :5432"},
		"allowed":     {func(*world) {}, exitOK, "Nothing was tried, which --allow-idle allows: reset never fired"},
		"failed":      {func(w *world) { w.session.err = errors.New("the queue broke") }, exitFailure, "the queue broke"},
		"interrupted": {func(w *world) {
			w.timers = map[time.Duration]func(){}
			w.signal <- syscall.SIGTERM
		}, 128 + int(syscall.SIGTERM), "never fired"},
	} {
		for _, ext := range report.Extensions() {
			t.Run(name+ext, func(t *testing.T) {
				w := newWorld(t)
				tc.prepare(w)
				path := filepath.Join(t.TempDir(), "r"+ext)
				if code := w.faultctl("inject reset --to :5432 --duration 60s " + map[bool]string{true: "--allow-idle", false: "--expect-fired"}[name == "allowed"] + " --report " + path); code != tc.code {
					t.Errorf("exit %d, want %d: %s", code, tc.code, &w.err)
				}
				if b, err := os.ReadFile(path); err != nil || !bytes.Contains(b, []byte(tc.want)) {
					t.Errorf("%v: the report does not say %q:\n%s", err, tc.want, b)
				}
			})
		}
	}
}

// TestReportForms holds that one run leaves a report in several forms.
func TestReportForms(t *testing.T) {
	w, dir := newWorld(t), t.TempDir()
	oneFired(w, "reset")
	if code := w.faultctl("inject reset --to :80 --duration 1s --report " + dir + "/a.xml --report " + dir + "/b.html --report=" + dir + "/c.md"); code != exitOK {
		t.Fatalf("exit %d: %s", code, &w.err)
	}
	for _, name := range []string{"a.xml", "b.html", "c.md"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Contains(b, []byte("reset")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEvidenceRefused holds that what cannot be written is refused before
// anything is touched.
func TestEvidenceRefused(t *testing.T) {
	dir := t.TempDir()
	for flags, want := range map[string]string{
		"--report " + dir + "/r.pdf":       ".xml (JUnit), .html, .json or .md",
		"--report " + dir + "/none/r.xml":  "no such file or directory",
		"--pcap " + dir + "/none/r.pcapng": "no such file or directory",
		"--pcap " + dir:                    "is a directory",
		"--pcap -":                         "name a file",
	} {
		w := newWorld(t)
		if code := w.faultctl("inject reset --to :80 --duration 1s " + flags); code != exitUsage || !strings.Contains(w.err.String(), want) {
			t.Errorf("%s: exit %d, %s", flags, code, &w.err)
		}
		if w.cfg.Rules != nil {
			t.Errorf("%s: the run had started", flags)
		}
	}
	w := newWorld(t)
	w.faultctl("inject reset --to :80 --dry-run --pcap " + dir + "/r.pcapng --report " + dir + "/r.xml")
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left by a refused and a dry run: %v", left)
	}
}

// TestReportOfNoRun holds that the report of a command that could not be run has
// the exit code that faultctl ends with, and names the command line.
func TestReportOfNoRun(t *testing.T) {
	for command, tc := range map[string]struct {
		line string
		err  error
		code int
	}{
		"no-such-command": {"run reset --to :80", nil, exitNotFound},
		"true":            {"run reset --to :80", injector.ErrPermission, exitRunFailed},
		"false":           {"run --fault reset --fault delay:by=1ms --to :80", injector.ErrPermission, exitRunFailed},
	} {
		w := newWorld(t)
		w.session.err = tc.err
		path := filepath.Join(t.TempDir(), "r.json")
		if code := w.runs(t, tc.line+" --report "+path, command); code != tc.code {
			t.Errorf("%s -- %s: exit %d, want %d", tc.line, command, code, tc.code)
		}
		if r := readReport(t, path); r.Code != tc.code || !strings.HasPrefix(r.Command, "faultctl run") || r.Cases[0].Verdict != report.Broken {
			t.Errorf("%s -- %s: %+v", tc.line, command, r)
		}
	}
}

// TestEvidenceLost holds that what could not be written after all is said, with
// its name and with words that fit a file.
func TestEvidenceLost(t *testing.T) {
	w := newWorld(t)
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "r.xml")
	w.session.played = func() { os.Remove(dir) }
	want := "faultctl: write the report " + path + ": no such file or directory\n"
	if code := w.faultctl("inject reset --to :80 --duration 1s --report " + path); code != exitFailure || w.err.String() != want {
		t.Errorf("exit %d, %q, want %q", code, &w.err, want)
	}
	for _, err := range []error{syscall.EACCES, syscall.EPERM} {
		e := usageError("--plan x: %w", aboutFile(&os.PathError{Op: "open", Path: "x", Err: err}))
		if text := experiment.AdviceOf(e); text != "" || strings.Contains(e.Error(), "open x") {
			t.Errorf("%v: %v; %s", err, e, text)
		}
	}
}

func TestCaptureOfARun(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "r.pcapng")
	w.session.played = func() {
		w.cfg.OnPacket(injector.Packet{Time: noon, Bytes: []byte{0x45, 0}, Length: 2, Fate: injector.Dropped, Fault: "reset", Ordinal: 5, Flow: dbFlow,
			Notes: []faults.Note{{Action: faults.SentRST, To: faults.Client, Reason: "reset"}}})
	}
	w.session.stats.Unseen = 3
	w.session.stats.Rules = []injector.RuleStats{{}}
	if code := w.faultctl("inject reset --to :80 --duration 1s --pcap " + path); code != exitOK {
		t.Fatalf("exit %d: %s", code, &w.err)
	}
	b, err := os.ReadFile(path)
	if want := "dropped by reset: rst to client, reset (rule 0, connection 5)"; err != nil || !bytes.Contains(b, []byte(want)) {
		t.Errorf("%v: the capture does not hold %q", err, want)
	}
	if !strings.Contains(w.err.String(), "3 packets that came too fast") {
		t.Errorf("what was lost is not said: %s", &w.err)
	}
}

// TestMetricsOfARun scrapes while a run goes on, and holds that a run without a
// target would leave the scrape alone.
func TestMetricsOfARun(t *testing.T) {
	w := newWorld(t)
	oneFired(w, "reset")
	var got string
	w.session.played = func() {
		url, _, _ := strings.Cut(strings.TrimPrefix(w.err.String(), "faultctl: metrics on "), "\n")
		res, err := http.Get(url)
		if err != nil {
			t.Error(err)
			return
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		got = string(b)
		ap, _ := netip.ParseAddrPort(strings.Split(url, "/")[2])
		if m := w.cfg.Rules[0].Match; m.Matches(netip.MustParseAddrPort("127.0.0.1:1"), ap) || !m.Matches(netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("127.0.0.1:80")) {
			t.Errorf("the scrape would be struck: %+v", m)
		}
	}
	if code := w.faultctl("inject reset --duration 1s --metrics 127.0.0.1:0"); code != exitOK {
		t.Fatalf("exit %d: %s", code, &w.err)
	}
	for _, want := range []string{`faultctl_connections_chosen_total{rule="0"} 1`, `faultctl_connections_fired_total{fault="reset",place="0",rule="0"} 1`} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	w = newWorld(t)
	if code := w.faultctl("inject reset --to :80 --duration 1s --metrics 192.0.2.1:9"); code != exitUsage || !strings.Contains(w.err.String(), "no address of this host") {
		t.Errorf("exit %d: %s", code, &w.err)
	}
}

// TestScrapesAreSpared holds that faultctl's own connections are left alone,
// whatever matches, and that a target which does not mean them stays as it is.
func TestScrapesAreSpared(t *testing.T) {
	day := filepath.Join(t.TempDir(), "day.yaml")
	if err := os.WriteFile(day, []byte("{duration: 1s, faults: [{fault: reset}]}"), 0o644); err != nil {
		t.Fatal(err)
	}
	client := netip.MustParseAddrPort("127.0.0.1:1")
	for line, spared := range map[string]bool{
		"inject reset --duration 1s":                           true,
		"inject reset --duration 1s --from 127.0.0.1":          true,
		"inject reset --duration 1s --uid 0":                   true,
		"inject reset --duration 1s --to 127.0.0.0/8":          true,
		"inject reset --duration 1s --to :1-65535":             true,
		"inject reset --duration 1s --to !db.internal:80":      true,
		"inject reset --duration 1s --to :80":                  false,
		"inject reset --duration 1s --netns /proc/self/ns/net": false,
		"scenario run " + day:                                  true,
	} {
		for _, addr := range []string{"127.0.0.1:0", ":0"} {
			w := newWorld(t)
			w.timers = map[time.Duration]func(){time.Second: nil}
			w.faultctl(line + " --metrics " + addr)
			url, _, _ := strings.Cut(strings.TrimPrefix(w.err.String(), "faultctl: metrics on http://"), "/")
			own, err := netip.ParseAddrPort(url)
			if err != nil || w.cfg.Rules == nil {
				t.Fatalf("%s: %v\n%s", line, err, &w.err)
			}
			own = netip.AddrPortFrom(client.Addr(), own.Port())
			m := w.cfg.Rules[0].Match
			if got := !slices.ContainsFunc(m.Except, func(e target.Endpoint) bool { return e.Contains(own) }); got == spared {
				t.Errorf("%s --metrics %s: spared is %v, want %v: %+v", line, addr, !got, spared, m)
			}
		}
	}
}

// TestReportAtSecondSignal holds that a process which ends at once leaves what is
// known, whole: a report that does not pass, and the capture.
func TestReportAtSecondSignal(t *testing.T) {
	for _, ext := range report.Extensions() {
		t.Run(ext, func(t *testing.T) {
			w, dir := newWorld(t), t.TempDir()
			oneFired(w, "reset")
			path, code := filepath.Join(dir, "r"+ext), make(chan int, 1)
			w.exit = func(c int) {
				if b, err := os.ReadFile(path); err != nil || !bytes.Contains(b, []byte("ended by a second signal, SIGTERM")) || !bytes.Contains(b, []byte("143")) {
					t.Errorf("%v: the report does not say how it ended:\n%s", err, b)
				}
				if ext == ".json" {
					r := readReport(t, path)
					if r.Passed() || len(r.Cases) != 1 || r.Code != 143 || r.Cases[0].Faults[0].Fired != 1 || len(r.Cases[0].Events) != 3 {
						t.Errorf("%+v", r)
					}
				}
				if left, _ := os.ReadDir(dir); len(left) != 2 {
					t.Errorf("left: %v", left)
				}
				code <- c
			}
			w.session.played = func() {
				<-w.engaged
				w.signal <- syscall.SIGINT
				w.signal <- syscall.SIGTERM
				if c := <-code; c != 143 {
					t.Errorf("exit %d, want 143", c)
				}
			}
			w.faultctl("inject reset --to :80 --report " + path + " --pcap " + filepath.Join(dir, "r.pcapng"))
		})
	}
}

// TestReportOfWhatFailed holds that a report is written of what faultctl could
// not do, and that it is an error in it, with the command's exit code.
func TestReportOfWhatFailed(t *testing.T) {
	type cases map[string]report.Verdict
	for name, tc := range map[string]struct {
		prepare func(*world)
		line    string
		command []string
		code    int
		says    string
		want    cases
	}{
		"the command is not found": {func(*world) {}, "verify --faults reset", []string{"no-such-command"}, exitUsage, "command not found",
			cases{"faultctl": report.Broken}},
		"no command to run": {func(*world) {}, "run reset", []string{"no-such-command"}, exitNotFound, "command not found",
			cases{"faultctl": report.Broken}},
		"nothing fired, and nothing had to": {func(*world) {}, "verify --faults reset --allow-idle", []string{"true"}, exitOK, "",
			cases{"no fault": report.Passed, "reset:at=request": report.Skipped}},
		"likewise, said otherwise": {func(*world) {}, "run reset --expect-fired=false", []string{"true"}, exitOK, "",
			cases{"reset": report.Skipped}},
		"the kernel breaks in between": {func(w *world) { w.session.err = errors.New("no queue is free") }, "verify --faults reset,refuse", []string{"true"},
			exitFailure, "no queue is free", cases{"no fault": report.Passed, "reset:at=request": report.Broken, "refuse": report.Skipped}},
	} {
		t.Run(name, func(t *testing.T) {
			w, path := newWorld(t), filepath.Join(t.TempDir(), "r.json")
			w.timers = never
			tc.prepare(w)
			if code := w.runs(t, tc.line+" --report "+path+" --report "+filepath.Join(t.TempDir(), "r.xml"), tc.command...); code != tc.code {
				t.Errorf("exit %d, want %d\n%s", code, tc.code, &w.err)
			}
			r := readReport(t, path)
			if len(r.Cases) != len(tc.want) || r.Code != tc.code || !strings.HasPrefix(r.Command, "faultctl "+strings.Fields(tc.line)[0]) {
				t.Errorf("%+v", r)
			}
			for _, c := range r.Cases {
				if c.Verdict != tc.want[c.Name] || c.Verdict == report.Broken && !strings.Contains(c.Reason, tc.says) {
					t.Errorf("%+v", c)
				}
			}
		})
	}
}

// TestVerifyAtSecondSignal holds that what was found so far is not lost.
func TestVerifyAtSecondSignal(t *testing.T) {
	w, dir := newWorld(t), t.TempDir()
	plan, path := filepath.Join(dir, "plan"), filepath.Join(dir, "r.json")
	if err := os.WriteFile(plan, []byte("reset:at=request,delay:by=1ms\nrefuse\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.timers = never
	oneFired(w, "reset")
	done := make(chan bool)
	w.exit = func(int) {
		r := readReport(t, path)
		var got []string
		for _, c := range r.Cases {
			got = append(got, c.Name+": "+string(c.Verdict))
		}
		if want := []string{"no fault: passed", "reset:at=request,delay:by=1ms: error"}; !slices.Equal(got, want) || r.Passed() || !strings.Contains(r.Command, "verify") {
			t.Errorf("%v: %q; want %q", r.Command, got, want)
		}
		close(done)
	}
	w.session.played = func() {
		w.signal <- syscall.SIGINT
		w.signal <- syscall.SIGTERM
		<-done
	}
	w.runs(t, "verify --plan "+plan+" --report "+path, "true")
}

// TestScenarioFailsEarly holds that a scenario which cannot begin leaves a report
// that says why.
func TestScenarioFailsEarly(t *testing.T) {
	withFakeClock(t, func(t *testing.T, w *fakeClockWorld) {
		w.preflightErr = errors.New("create an nftables table: no")
		code := w.play(t, oneFault, "--report", "r.json")
		r := readReport(t, "r.json")
		if r.Code != code || len(r.Cases) != 1 || r.Cases[0].Verdict != report.Broken || !strings.Contains(r.Cases[0].Reason, "reset: ") {
			t.Errorf("exit %d: %+v", code, r)
		}
	})
}
