package cli

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/internal/version"
)

// theVersion stands where the version is, which is none of a test's business.
func theVersion(s string) string { return strings.ReplaceAll(s, `"`+version.String()+`"`, `"VERSION"`) }

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
