package cli

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestSignals(t *testing.T) {
	for sig, want := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		w := newWorld(t)
		w.session.played = func() { w.signal <- sig }
		if code := w.faultctl("inject reset --to :80 --expect-fired"); code != want {
			t.Errorf("%v: exit %d, want %d", sig, code, want)
		}
		if !strings.Contains(w.out.String(), "ended after") {
			t.Errorf("%v: no summary:\n%s", sig, &w.out)
		}
	}
}

// A second signal ends without waiting for a run that does not end.
func TestSecondSignal(t *testing.T) {
	w := newWorld(t)
	w.session.played = func() {
		w.signal <- syscall.SIGINT
		w.signal <- syscall.SIGTERM
		if code := <-w.exited; code != 143 {
			t.Errorf("exit %d, want 143", code)
		}
	}
	w.faultctl("inject reset --to :80")
}

// A signal that comes twice at once, as timeout(1) sends it, is one.
func TestEchoedSignal(t *testing.T) {
	w := newWorld(t)
	w.session.played = func() {
		w.signal <- syscall.SIGTERM
		w.signal <- syscall.SIGTERM
	}
	if code := w.faultctl("inject reset --to :80"); code != 143 || len(w.exited) > 0 || !strings.Contains(w.out.String(), "ended after") {
		t.Errorf("exit %d, %d ends without waiting\n%s", code, len(w.exited), &w.out)
	}
}

// A signal that comes before the rules go in ends the run as well.
func TestSignalWhileWaiting(t *testing.T) {
	w := newWorld(t)
	w.timers = map[time.Duration]func(){time.Hour: func() { w.signal <- syscall.SIGINT }}
	w.session.played = func() { t.Error("the rules went in") }
	if code := w.faultctl("inject reset --to :80 --start-after 1h"); code != 130 || !strings.Contains(w.out.String(), "nothing was touched") {
		t.Errorf("exit %d\n%s", code, &w.out)
	}
}

// brokenPipe is a reader who goes after some writes.
type brokenPipe struct {
	left int
	err  error
}

func (b *brokenPipe) Write(p []byte) (int, error) {
	if b.left--; b.left < 0 {
		return 0, b.err
	}
	return len(p), nil
}

// A run that can tell nobody ends, cleanly, and says so where anybody is left.
func TestBrokenOutput(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
		says string
	}{
		{&os.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.EPIPE}, 141, ""},
		{&os.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.ENOSPC}, exitFailure, "write standard output: no space left on device"},
	} {
		for _, format := range []string{"text", "json"} {
			for _, left := range []int{0, 1} { // from the start, or later
				w := newWorld(t)
				w.stdout = &brokenPipe{left, c.err}
				w.timers = map[time.Duration]func(){}
				if code := w.faultctl("inject reset --to :80 -o " + format); code != c.code {
					t.Errorf("%v, %s: exit %d, want %d", c.err, format, code, c.code)
				}
				if got := w.err.String(); c.says == "" && got != "" || !strings.Contains(got, c.says) {
					t.Errorf("%v: %q", c.err, got)
				}
			}
		}
	}
}

// A command that says nothing but what it prints fails if that does not arrive.
func TestBrokenOutputOfOthers(t *testing.T) {
	for _, line := range []string{"faults", "faults reset", "faults -o json", "doctor", "version", "help", "inject --help", "completion bash", "cleanup",
		"scenario schema", "inject reset --to :80 --dry-run"} {
		for err, want := range map[error]int{syscall.EPIPE: 141, syscall.ENOSPC: exitFailure} {
			w := newWorld(t)
			w.stdout = &brokenPipe{0, err}
			if code := w.faultctl(line); code != want || (w.err.Len() > 0) != (want == exitFailure) {
				t.Errorf("%s, %v: exit %d, want %d; %s", line, err, code, want, &w.err)
			}
		}
	}
}

// TestBrokenOutputOfCommand holds the same of run, which ends the command then,
// and of verify, which tries nothing more.
func TestBrokenOutputOfCommand(t *testing.T) {
	for _, line := range []string{"run reset --to :80 -o json", "verify --faults reset,refuse", "verify --faults reset,refuse -o json"} {
		for _, left := range []int{0, 1, 2} {
			w := newWorld(t)
			w.stdout = &brokenPipe{left, syscall.EPIPE}
			w.timers = map[time.Duration]func(){}
			command := []string{"sleep", "60"}
			if strings.HasPrefix(line, "verify") {
				command = []string{"true"}
			}
			if code := w.runs(t, line, command...); code != 141 || w.err.Len() > 0 {
				t.Errorf("%s, after %d writes: exit %d, %s", line, left, code, &w.err)
			}
		}
	}
}
