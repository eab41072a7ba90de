package cli

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

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
