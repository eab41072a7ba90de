package cli

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/cli/internal/text"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
)

// TestAdder holds what is told one by one, what is added up, and when.
func TestAdder(t *testing.T) {
	var a adder
	at := noon
	take := func(n int, what string) (single int) {
		for range n {
			if a.take(at, "fired", what) {
				single++
			}
		}
		return single
	}
	if n := take(25, "  reset: x"); n != toldSingly {
		t.Errorf("%d told one by one", n)
	}
	if n := take(3, "  other"); n != 3 {
		t.Errorf("%d of another kind told one by one", n)
	}
	says := func(end bool, want ...string) {
		t.Helper()
		if got := a.due(at, end); strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("%q, want %q", got, want)
		}
	}
	says(false)
	at = at.Add(addUpEvery)
	says(false, "fired  15 connections more  reset: x")
	take(1, "  reset: x")
	at = at.Add(addUpEvery)
	says(false) // the second time it takes longer
	says(true, "fired  1 connection more  reset: x")
	says(true)
	for i := range 2 * mostKinds {
		take(1, fmt.Sprint("  kind ", i))
	}
	says(true, "and 202 events of other kinds")
}

// manyConnections has each of so many connections struck, and each fault act on it
// several times.
func manyConnections(w *world, n, times int) {
	w.session.events = []injector.Event{{Time: noon, Kind: injector.Ready}}
	for i := range n {
		flow := injector.Flow{Client: fmt.Sprintf("10.20.30.%d:%d", i%250, 40000+i), Server: "10.20.30.40:5432"}
		w.session.events = append(w.session.events, injector.Event{Time: noon, Kind: injector.Chosen, Flow: flow, Ordinal: uint64(i)})
		for range times {
			w.session.events = append(w.session.events, injector.Event{Time: noon, Kind: injector.Fired, Flow: flow, Ordinal: uint64(i),
				Fault: "idle-expire", Action: faults.SentRST, To: faults.Client, Reason: "segment after the entry expired in the middle"})
		}
	}
}

// TestManyConnections holds that many connections are added up, and that an action
// is told once, however often it is repeated: in text and as events.
func TestManyConnections(t *testing.T) {
	w := newWorld(t)
	manyConnections(w, 500, 3)
	w.faultctl("inject idle-expire --after 300s --to :5432 --duration 60s")
	out := w.out.String()
	if lines := strings.Count(out, "\n"); lines > 2*toldSingly+15 || !strings.Contains(out, "flow   490 connections more\n") ||
		!strings.Contains(out, "fired  490 connections more  idle-expire: RST to the client, segment after the entry expired in the middle\n") {
		t.Errorf("%d lines:\n%s", lines, out)
	}
	w = newWorld(t)
	manyConnections(w, 3, 24)
	w.faultctl("inject idle-expire --after 300s --to :5432 --duration 60s -o json")
	if n := strings.Count(w.out.String(), `"event":"fired"`); n != 3 {
		t.Errorf("%d events fired\n%s", n, &w.out)
	}
}

// TestNarrowTerminal holds that no line is wider than a terminal of 80 columns, which
// would break it inside a word, and that what repeats a run is still one command line.
func TestNarrowTerminal(t *testing.T) {
	command := []string{"sh", "-c", "exit 0", "a-rather-long-argument", "and-another-one-that-is-long", "--with=several", "--more=words"}
	for _, line := range []string{
		"inject idle-expire --after 300s --to 10.20.30.40:5432,5433 --from 10.0.0.0/8 --max-connections 1000 --every 2 --duration 60s",
		"run idle-expire --after 300s --to 10.20.30.40:5432,5433 --every 2 --max-connections 1000",
		"verify --faults reset,idle-expire:after=300s,then=rst-next,refresh=data --to 10.20.30.40:5432,5433 --allow-idle",
	} {
		w := newWorld(t)
		t.Setenv("NO_COLOR", "1")
		if !strings.HasPrefix(line, "inject") { // whose duration ends it
			w.timers = never
		}
		w.terminal, w.width, w.screen = true, 80, func() int { return 80 }
		manyConnections(w, 30, 2)
		argv := command
		if strings.HasPrefix(line, "inject") {
			w.faultctl(line)
		} else {
			w.runs(t, line, argv...)
		}
		out := w.out.String() + w.err.String()
		for l := range strings.SplitSeq(out, "\n") {
			for shown := range strings.SplitSeq(l, text.Shown(text.ClearLine)) {
				if text.Width(shown) > 80 {
					t.Errorf("%s: %d columns: %s", line, text.Width(shown), shown)
				}
			}
		}
		_, repeat, _ := strings.Cut(out, "repeat")
		joined := regexp.MustCompile(`\s*\\\n\s*`).ReplaceAllString(repeat, " ")
		if !strings.Contains(joined, "--to 10.20.30.40:5432,5433 ") || !strings.Contains(joined, "--seed 42") {
			t.Errorf("%s: %s", line, joined)
		}
	}
}
