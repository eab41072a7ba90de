package cli

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

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

// A scenario that can tell nobody ends, and takes its faults out.
func TestScenarioBrokenOutput(t *testing.T) {
	for _, tc := range []struct {
		err  error
		code int
		says string
	}{{syscall.EPIPE, 141, ""}, {syscall.ENOSPC, exitFailure, "write standard output: no space left on device"}} {
		for _, format := range []string{"text", "json"} {
			for _, left := range []int{0, 2, 4} {
				withFakeClock(t, func(t *testing.T, w *fakeClockWorld) {
					w.stdout = &brokenPipe{left, tc.err}
					code := w.play(t, oneFault+"probes: [{name: web, http: http://web/}]\n", "-o", format)
					if code != tc.code || time.Since(w.began) >= 10*time.Second || len(w.log)%2 != 0 {
						t.Errorf("%v, %s, after %d writes: exit %d, %v", tc.err, format, left, code, w.log)
					}
					if got := w.err.String(); tc.says == "" && got != "" || !strings.Contains(got, tc.says) {
						t.Errorf("%v: %q", tc.err, got)
					}
				})
			}
		}
	}
}
