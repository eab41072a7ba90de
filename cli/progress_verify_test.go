package cli

import (
	"strings"
	"testing"

	"github.com/faultctl/faultctl/cli/internal/text"
	"time"

	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/experiment/survival"
	"github.com/faultctl/faultctl/injector"
)

// TestVerifyProgress holds what the live line of verify says: what runs, how many
// cases are left, and for about how long.
func TestVerifyProgress(t *testing.T) {
	at := time.Unix(0, 0)
	p := newVerifyProgress(func() time.Time { return at }, 5)
	says := func(want string) {
		t.Helper()
		lines := p.lines()
		if want == "" && len(lines) == 0 {
			return
		}
		if len(lines) == 0 || lines[0] != want {
			t.Errorf("%q, want %q", lines, want)
		}
		for i := 1; i < len(lines); i++ {
			if len(lines[i]) > len(lines[i-1]) {
				t.Errorf("a later line is longer: %q", lines)
			}
		}
	}
	begin := func(nth, jobs int, name string) chan struct{} {
		over := make(chan struct{})
		p.running(survival.Attempt{Nth: nth, Name: name, Jobs: jobs, Limit: 30 * time.Second, Over: over, Stats: func() injector.Snapshot { return injector.Snapshot{} }})
		return over
	}
	says("")
	begin(0, 1, survival.NoFault)
	at = at.Add(2 * time.Second)
	says("  no fault: 2s; 5 cases to try after it")
	p.result(report.Case{Name: survival.NoFault, Took: 4 * time.Second})
	begin(1, 1, "reset")
	at = at.Add(time.Second)
	says("  1 of 5  reset: 0 connections, 0 chosen, 0 fired; 1s, at most 29s more; 4 left, about 19s")
	p.result(report.Case{Name: "reset", Took: 4 * time.Second})
	says("")

	p = newVerifyProgress(func() time.Time { return at }, 5)
	p.result(report.Case{Name: survival.NoFault, Took: 4 * time.Second})
	second := begin(2, 2, "refuse") // the first one of the plan need not begin first
	begin(1, 2, "reset")
	at = at.Add(time.Second)
	says("  0 of 5 done; reset 1s, refuse 1s; 3 left, about 9s")
	if lines := p.lines(); lines[len(lines)-1] != "  0 of 5 done; 2 running; 3 left, about 9s" {
		t.Error(lines)
	}
	close(second) // its result waits for that of the first one
	says("  1 of 5 done; reset 1s; 3 left, about 8s")
	begin(3, 2, "half-open")
	p.result(report.Case{Name: "reset", Took: 8 * time.Second})
	p.result(report.Case{Name: "refuse", Took: 6 * time.Second})
	says("  2 of 5 done; half-open 0s; 2 left, about 9s")
}

// TestLive holds that lines which stay are written above the live line, and that it
// is erased.
func TestLive(t *testing.T) {
	var b strings.Builder
	l := &live{write: func(s string) { b.WriteString(s) }, screen: func() int { return 20 }}
	l.show("a line that is too long", "short")
	l.above("stays\n")
	l.show("again")
	l.show()
	l.show()
	if want := "short\r\x1b[Kstays\nagain\r\x1b[K"; text.Shown(b.String()) != want {
		t.Errorf("%q, want %q", text.Shown(b.String()), want)
	}
}
