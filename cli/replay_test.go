package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
)

// record writes the events of a run to a file and returns its path.
func recorded(t *testing.T, events string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "events.ndjson")
	if err := os.WriteFile(path, []byte(events), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// oneOf is a run in which the connection of that ordinal was struck.
func oneOf(w *world, nth uint64, reason string) {
	w.session.events = append(w.session.events,
		injector.Event{Time: noon, Kind: injector.Chosen, Flow: dbFlow, Ordinal: nth},
		injector.Event{Time: noon, Kind: injector.Fired, Fault: "reset", Flow: dbFlow, Ordinal: nth, Action: faults.SentRST, To: faults.Client, Reason: reason})
	w.session.stats = injector.Snapshot{Rules: []injector.RuleStats{{Flows: 9, Chosen: 1, Faults: []injector.FaultStats{{Name: "reset", Fired: 1}}}}}
}

// TestReplay records a run as its events tell it, and makes its decisions again.
func TestReplay(t *testing.T) {
	first := newWorld(t)
	oneOf(first, 6, "reset")
	first.faultctl("inject reset:at=match=it's --to :5432 --percent 10 --duration 60s -o json")
	events := recorded(t, first.out.String())

	for name, tc := range map[string]struct {
		nth    uint64
		reason string
		code   int
		want   string
	}{
		"same":    {6, "reset", exitOK, "replayed 1 connection: the same decisions as then"},
		"other":   {6, "something else", exitProbe, "connection 6: then reset: rst to client, reset; now reset: rst to client, something else"},
		"nothing": {5, "reset", exitProbe, "connection 6 did not come; then: reset: rst to client, reset"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			oneOf(w, tc.nth, tc.reason)
			if code := w.faultctl("replay " + events); code != tc.code || !strings.Contains(w.out.String(), tc.want) {
				t.Errorf("exit %d, want %d, and %q in\n%s%s", code, tc.code, tc.want, &w.out, &w.err)
			}
			pick, seed := w.cfg.Rules[0].Pick, w.cfg.Seed
			if pick.Only == nil || !pick.Only.Contains(6) || pick.Only.Contains(5) || seed != 42 {
				t.Errorf("seed %d, choosing %+v", seed, pick.Only)
			}
			if got, want := knobsSet(t, w.cfg), []string{"reset:at=match=it's"}; !slices.Equal(got, want) {
				t.Errorf("faults %q, want %q", got, want)
			}
		})
	}
}

func TestReplayEvents(t *testing.T) {
	first := newWorld(t)
	oneOf(first, 6, "reset")
	first.faultctl("inject reset --to :5432 --duration 60s -o json")
	cut := strings.TrimSuffix(first.out.String(), "\n") // the last event was cut short
	w := newWorld(t)
	w.stdin = strings.NewReader(cut)
	oneOf(w, 6, "other")
	if code := w.faultctl("replay - --output json --duration 5s"); code != exitProbe {
		t.Errorf("exit %d: %s", code, &w.err)
	}
	const want = `"event":"replayed","connections":1,"same":0,"differences":[{"ordinal":6,"came":true,"then":["reset: rst to client, reset"],"now":["reset: rst to client, other"]}],"events_lost":0}`
	if !strings.Contains(w.out.String(), want) {
		t.Errorf("no %s in\n%s", want, &w.out)
	}
	if !strings.Contains(w.out.String(), `"duration":"5s"`) {
		t.Errorf("--duration of replay is not that of the run:\n%s", &w.out)
	}
}

func TestReplayRefuses(t *testing.T) {
	const start = `{"time":"2026-03-04T12:00:00Z","event":"started","repeat":"faultctl inject reset --to :80 --duration 1s --seed 1"}` + "\n"
	for events, want := range map[string]string{
		"":                        "no event started",
		"hello\n":                 "line 1: no JSON object",
		"{\"event\":\"ready\"}\n": "no event started",
		start + start:             "line 2: a second event started",
		start + "{\"event\":3}\n": "line 2: no JSON object",
		strings.Replace(start, "inject", "scenario run", 1): "inject and run can be replayed",
		start + "{\"event\":\"flow\",\"ordinal\":\"x\"}\n":  "line 2: event flow",
	} {
		w := newWorld(t)
		if code := w.faultctl("replay " + recorded(t, events)); code != exitUsage || !strings.Contains(w.err.String(), want) {
			t.Errorf("%q: exit %d, %s, want %q", events, code, &w.err, want)
		}
	}
	w := newWorld(t)
	if code := w.faultctl("replay /none/events"); code != exitUsage || !strings.Contains(w.err.String(), "no such file") {
		t.Errorf("exit %d, %s", code, &w.err)
	}
	if code := w.faultctl("replay"); code != exitUsage {
		t.Errorf("exit %d without EVENTS", code)
	}
}

// TestSplitWords holds that what quote makes of a word is read back.
func TestSplitWords(t *testing.T) {
	words := []string{"faultctl", "inject", "", "it's", "a b", `\`, "match=/x y/", "--to", "[fd00::5]:80", "'", "''"}
	var line []string
	for _, w := range words {
		line = append(line, quote(w))
	}
	got, err := splitWords(strings.Join(line, " "))
	if err != nil || !slices.Equal(got, words) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := splitWords("a 'b"); err == nil {
		t.Error("a missing quotation mark is not missed")
	}
}
