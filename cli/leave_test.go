package cli

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/faultctl/faultctl/experiment/report"
)

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
		w.lacks = errors.New("create an nftables table: no")
		code := w.play(t, oneFault, "--report", "r.json")
		r := readReport(t, "r.json")
		if r.Code != code || len(r.Cases) != 1 || r.Cases[0].Verdict != report.Broken || !strings.Contains(r.Cases[0].Reason, "reset: ") {
			t.Errorf("exit %d: %+v", code, r)
		}
	})
}
