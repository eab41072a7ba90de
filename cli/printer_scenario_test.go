package cli

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/internal/version"
)

func TestScenarioSays(t *testing.T) {
	for _, form := range []string{"text", "json"} {
		withFakeClock(t, func(t *testing.T, w *fakeClockWorld) {
			t.Setenv("SSH_CONNECTION", "10.0.0.9 40000 10.0.0.1 22")
			dir, _ := os.Getwd()
			w.fails = func(p string, at time.Duration) error {
				if p == "web" && at >= 3*time.Second && at < 4*time.Second || p == "port" && at == 6*time.Second {
					return errors.New("connection refused")
				}
				return nil
			}
			code := w.play(t, goldenDay, "-o", form)
			if code != exitOK {
				t.Errorf("exit %d\n%s", code, &w.err)
			}
			t.Chdir(dir)
			golden(t, "scenario."+map[string]string{"text": "txt", "json": "ndjson"}[form], strings.ReplaceAll(w.out.String(), version.String(), "VERSION"))
		})
		withFakeClock(t, func(t *testing.T, w *fakeClockWorld) {
			dir, _ := os.Getwd()
			code := w.play(t, goldenDay, "-o", form, "--dry-run")
			if code != exitOK || w.log != nil {
				t.Errorf("exit %d, %v\n%s", code, w.log, &w.err)
			}
			t.Chdir(dir)
			golden(t, "scenario-dry."+map[string]string{"text": "txt", "json": "ndjson"}[form], strings.ReplaceAll(w.out.String(), version.String(), "VERSION"))
		})
	}
}

// On a terminal a live line says how far the timeline is, and elsewhere a plain
// line now and then; nothing of it is left behind when it is over.
func TestScenarioProgress(t *testing.T) {
	const day = "faults: [{name: reset, fault: reset, target: {to: \":80\"}, start: 1500ms, duration: 20s}]\n"
	withFakeClock(t, func(t *testing.T, w *fakeClockWorld) {
		t.Setenv("NO_COLOR", "1")
		w.terminal, w.width = true, 200
		if code := w.play(t, day); code != exitOK {
			t.Fatalf("exit %d\n%s", code, &w.err)
		}
		out := w.out.String()
		for _, want := range []string{
			"0 connections matched, 0 chosen, 0 fired; 0 packets judged; 1s elapsed, 21s left\r\x1b[K",
			"1 connection matched, 1 chosen, 1 fired; 10 packets judged; 2s elapsed, 20s left\r\x1b[K",
			"\r\x1b[K\nended after 21.5s",
		} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in\n%q", want, out)
			}
		}
	})
	withFakeClock(t, func(t *testing.T, w *fakeClockWorld) {
		w.progress = 7 * time.Second
		if code := w.play(t, day); code != exitOK {
			t.Fatalf("exit %d\n%s", code, &w.err)
		}
		if out := w.out.String(); strings.Count(out, "so far: ") != 3 || !strings.Contains(out, "00:00:07.000  so far: 1 connection matched, 1 chosen, 1 fired") || strings.Contains(out, "\r") {
			t.Errorf("no three lines in\n%q", out)
		}
	})
	withFakeClock(t, func(t *testing.T, w *fakeClockWorld) {
		w.progress = 7 * time.Second
		if code := w.play(t, day, "-o", "json"); code != exitOK || strings.Contains(w.out.String(), "so far") {
			t.Errorf("exit %d\n%s", code, &w.out)
		}
	})
}
