package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/outcome"
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
	w.session.stats = injector.Snapshot{Rules: []injector.RuleStats{{Flows: 9, Chosen: 1, Faults: []injector.FaultStats{{Name: "reset", Fired: 1, Settled: outcome.Tally{Struck: 1, Felt: 1, Furthest: felt}}}}}}
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
		"same":    {6, "reset", exitOK, "replayed 1 connection: all decisions are the same"},
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

// TestReplayOrder holds that the same decisions in another order, as the two ends
// of a connection come to close, are the same.
func TestReplayOrder(t *testing.T) {
	first := newWorld(t)
	oneOf(first, 6, "reset")
	fired := first.session.events[len(first.session.events)-1]
	other := fired
	other.Reason = "something else"
	first.session.events = append(first.session.events, other)
	first.faultctl("inject reset --to :5432 --duration 60s -o json")
	w := newWorld(t)
	oneOf(w, 6, "something else")
	w.session.events = append(w.session.events, fired)
	if code := w.faultctl("replay " + recorded(t, first.out.String())); code != exitOK || !strings.Contains(w.out.String(), "all decisions are the same") {
		t.Errorf("exit %d\n%s%s", code, &w.out, &w.err)
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

// TestReplayContainer holds that connections which are counted anew, because the
// container was restarted, are not taken for the first ones.
func TestReplayContainer(t *testing.T) {
	first := newWorld(t)
	oneOf(first, 0, "reset")
	again := len(first.session.events)
	first.session.events = append(first.session.events, first.session.events[0])
	oneOf(first, 0, "something else")
	oneOf(first, 3, "reset")
	first.faultctl("inject reset --to :5432 --duration 60s -o json")
	events := recorded(t, first.out.String())
	for _, n := range []int{again, len(first.session.events)} { // it is not restarted now, and it is
		for flags, want := range map[string]string{
			"":         "replayed 1 connection: all decisions are the same\nthe container was restarted during the recording",
			" -o json": `"connections":1,"same":1,"differences":[],"events_lost":0,"restarts":1}`,
		} {
			w := newWorld(t)
			w.session.stats = first.session.stats
			w.session.events = first.session.events[:n]
			if code := w.faultctl("replay " + events + flags); code != exitOK || !strings.Contains(w.out.String(), want) {
				t.Errorf("%d events%s: exit %d, want %q in\n%s%s", n, flags, code, want, &w.out, &w.err)
			}
			if only := w.cfg.Rules[0].Pick.Only; !only.Contains(0) || only.Contains(3) {
				t.Errorf("choosing %+v", only)
			}
		}
	}
}

func TestReplayRefuses(t *testing.T) {
	const start = `{"time":"2026-03-04T12:00:00Z","event":"started","repeat":"faultctl inject reset --to :80 --duration 1s --seed 1","spec":{"fault":["reset"],"target":{"to":[":80"]},"duration":"1s","seed":"1"}}` + "\n"
	for events, want := range map[string]string{
		"":                        "no event started",
		"hello\n":                 "line 1: no JSON object",
		"{\"event\":\"ready\"}\n": "no event started",
		start + start:             "line 2: a second event started",
		start + "{\"event\":3}\n": "line 2: no JSON object",
		strings.Replace(start, `,"spec"`, `,"was"`, 1):                                                               "which cannot be made again",
		strings.Replace(start, `"repeat"`, `"command":["true"],"repeat"`, 1) + `{"event":"flow","ordinal":1}` + "\n": "before anything has begun",
		start + "{\"event\":\"flow\",\"ordinal\":\"x\"}\n":                                                           "line 2: event flow",
		strings.Replace(start, `["reset"]`, `["rest"]`, 1):                                                           "did you mean \"reset\"?",
		start + `{"event":"step","do":"start","rule":-1}` + "\n":                                                     "line 2: event step: no scenario has a fault of the number -1",
		start + `{"event":"step","do":"start","rule":9000000000}` + "\n":                                             "no scenario has a fault of the number 9000000000",
	} {
		w := newWorld(t)
		if code := w.faultctl("replay " + recorded(t, events)); code != exitUsage || !strings.Contains(w.err.String(), want) {
			t.Errorf("%q: exit %d, %s, want %q", events, code, &w.err, want)
		}
	}
	w := newWorld(t)
	if code := w.faultctl("replay /dev/zero"); code != exitUsage || !strings.Contains(w.err.String(), "line 1 is longer than 1 MiB") {
		t.Errorf("exit %d, %s", code, &w.err)
	}
	w = newWorld(t)
	if code := w.faultctl("replay /none/events"); code != exitUsage || !strings.Contains(w.err.String(), "no such file") {
		t.Errorf("exit %d, %s", code, &w.err)
	}
	if code := w.faultctl("replay"); code != exitUsage {
		t.Errorf("exit %d without EVENTS", code)
	}
}

// TestReplayVerify makes the decisions of a verify again, of all its cases and of
// one.
func TestReplayVerify(t *testing.T) {
	first := newWorld(t)
	first.timers = never
	oneOf(first, 6, "reset")
	if code := first.runs(t, "verify --faults reset,refuse -o json --repeat 2", "true"); code != exitOK {
		t.Fatalf("exit %d\n%s", code, &first.err)
	}
	events := recorded(t, first.out.String())
	for flags, tc := range map[string]struct {
		nth  uint64
		code int
		want string
	}{
		" --recorded-command":                      {6, exitOK, "replayed 4 connections: all decisions are the same"},
		" -o json -- true":                         {6, exitOK, `"event":"replayed","connections":4,"same":4,"differences":[],"events_lost":0`},
		" --recorded-command ":                     {5, exitProbe, "connection 6 of refuse, the 2. time did not come; then: reset: rst to client, reset"},
		" --case reset --recorded-command":         {6, exitOK, "replayed 1 connection: all decisions are the same"},
		" --case reset:at=request -- true":         {5, exitProbe, "connection 6 did not come"},
		" --case rset":                             {6, exitUsage, `there is no case "rset"`},
		" --duration 5s":                           {6, exitUsage, "faultctl verify, which has no such flag"},
		" --case reset -o json --pcap /x/ -- true": {6, exitRunFailed, "--pcap /x/"},
		"":                            {6, exitRefused, "not run unasked"},
		" --case reset":               {6, exitRefused, "The recorded command is: true."},
		" --recorded-command -- true": {6, exitUsage, "which one"},
	} {
		w := newWorld(t)
		w.timers = never
		oneOf(w, tc.nth, "reset")
		out, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		w.childOut, w.childErr = out, out
		if code := w.faultctl("replay " + events + flags); code != tc.code || !strings.Contains(w.out.String()+w.err.String(), tc.want) {
			t.Errorf("%q: exit %d, want %d, and %q in\n%s%s", flags, code, tc.code, tc.want, &w.out, &w.err)
		}
		if tc.code < exitUsage && !w.cfg.Rules[0].Pick.Only.Contains(6) {
			t.Errorf("%q: choosing %+v", flags, w.cfg.Rules[0].Pick)
		}
		out.Close()
	}
}

// TestReplayScenario makes the decisions of a scenario again, whose pulses count
// their connections anew.
func TestReplayScenario(t *testing.T) {
	const day = `
faults:
  - {name: pulses, fault: reset, target: {to: ":80"}, duration: 10s, pulse: {on: 2s, off: 4s}}
  - {name: drops, fault: "syn-drop:attempts=1", target: {to: ":81"}, start: 3s, duration: 5s}
`
	withFakeClock(t, func(t *testing.T, w *fakeClockWorld) {
		if code := w.play(t, day, "-o", "json"); code != exitOK {
			t.Fatalf("exit %d\n%s", code, &w.err)
		}
		events := recorded(t, w.out.String())
		for flags, want := range map[string]string{
			"":                                    "replayed 3 connections: all decisions are the same",
			"-o json":                             `"event":"replayed","connections":3,"same":3`,
			"--case pulses":                       "only what faultctl verify recorded has cases",
			"--metrics 127.0.0.1:0 --duration 1s": "faultctl scenario run, which has no such flag",
		} {
			w.out.Reset()
			w.err.Reset()
			code := w.host.run(append([]string{"faultctl", "replay", events}, strings.Fields(flags)...))
			if fine := strings.HasPrefix(want, "only") || strings.HasPrefix(want, "faultctl"); (code == exitOK) == fine || !strings.Contains(w.out.String()+w.err.String(), want) {
				t.Errorf("%s: exit %d, want %q in\n%s%s", flags, code, want, &w.out, &w.err)
			}
		}
		w.fires = 0
		w.out.Reset()
		if code := w.host.run([]string{"faultctl", "replay", events}); code != exitNotFired || !strings.Contains(w.out.String(), "connection 0 of pulses, the 2. time did not come; then: reset: rst to client, because") {
			t.Errorf("exit %d\n%s%s", code, &w.out, &w.err)
		}
	})
}

// TestReplayRunsNothing holds that neither the command of a recording nor the files
// that it names matter unless the user says so.
func TestReplayRunsNothing(t *testing.T) {
	dir := t.TempDir()
	mark, precious := filepath.Join(dir, "mark"), filepath.Join(dir, "precious.json")
	if err := os.WriteFile(precious, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	started := func(spec string) string {
		return recorded(t, fmt.Sprintf(`{"time":"2026-03-04T12:00:00Z","event":"started","repeat":"x","spec":{"fault":["reset"],"seed":"1","pcap":%q,"report":[%q],"metrics":"127.0.0.1:1",%s}}`+"\n"+
			`{"time":"2026-03-04T12:00:00Z","event":"ready"}`+"\n", precious, precious, spec))
	}
	touch := fmt.Sprintf(`"command":["touch",%q]`, mark)
	for _, tc := range []struct {
		name, spec, flags string
		code              int
		says              string
		runs              bool
	}{
		{"an inject that names files", `"target":{"to":[":5432"]},"duration":"1s"`, "", exitOK, "", false},
		{"a command and a target", `"target":{"to":[":5432"]},"duration":"1s",` + touch, "", exitOK, "To run it, add --recorded-command", false},
		{"a command alone", touch, "", exitRefused, mark, false},
		{"asked for", touch, "--recorded-command", exitRunNotFired, "running the recorded command: touch " + mark, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			os.Remove(mark)
			w := newWorld(t)
			if code := w.faultctl("replay " + started(tc.spec) + " " + tc.flags); code != tc.code || !strings.Contains(w.out.String()+w.err.String(), tc.says) {
				t.Errorf("exit %d, want %d, and %q in\n%s%s", code, tc.code, tc.says, &w.out, &w.err)
			}
			if _, err := os.Stat(mark); (err == nil) != tc.runs {
				t.Errorf("the command was run: %v, want %v", err == nil, tc.runs)
			}
			if b, _ := os.ReadFile(precious); string(b) != "precious" {
				t.Errorf("the file that the recording names holds %q now", b)
			}
			if tc.code != exitRefused && !tc.runs && w.cage != nil {
				t.Error("a cage was made")
			}
		})
	}
}
