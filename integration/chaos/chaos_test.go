package main

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m.Run)) }

func build(t *testing.T) string {
	t.Helper()
	exe := filepath.Join(t.TempDir(), "faultctl")
	cmd := exec.Command("go", "build", "-o", exe, ".")
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return exe
}

// TestEachHarm plays each kind of harm once: `make chaos` plays them often, and writes
// docs/RELIABILITY.md.
func TestEachHarm(t *testing.T) {
	w, err := newWorld(build(t))
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range w.kinds {
		k := &w.kinds[i]
		if i > 1 && k.name == w.kinds[0].name {
			continue
		}
		k.played++
		if err := k.play(w, k, rng); err != nil {
			t.Errorf("%s: %v", k.name, err)
		}
		if k.skipped > 0 {
			t.Logf("%s: not played: %s", k.name, k.why)
		}
	}
	if got := w.broken(); got != "none" {
		t.Errorf("broken: %s", got)
	}
	if text := w.text(len(w.kinds), time.Second); !strings.Contains(text, "broken: none") || !strings.Contains(text, "| SIGSTOP | 1 |") {
		t.Errorf("the page says:\n%s", text)
	}
}

// TestShortSoak runs an instance under load for two seconds, and checks that a soak notices
// what grows.
func TestShortSoak(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	if err := write(page, "harm", "a\n"); err != nil {
		t.Fatal(err)
	}
	if err := soakFor(build(t), 2*time.Second, page); err != nil && !strings.Contains(err.Error(), "half time") { // two seconds are too few to judge by
		t.Error(err)
	}
	text, err := os.ReadFile(page)
	if err != nil || strings.Count(string(text), "| 1s |")+strings.Count(string(text), "| 2s |") == 0 || !strings.Contains(string(text), "<!-- harm -->\na\n") || !strings.Contains(string(text), "of which 0 failed") {
		t.Errorf("%v\n%s", err, text)
	}
	flat := []sample{{rss: 30 << 10, files: 20, threads: 8}, {rss: 30 << 10, files: 20, threads: 8}, {rss: 31 << 10, files: 21, threads: 9}}
	for want, change := range map[string]func(*sample){
		"":        func(*sample) {},
		"files":   func(s *sample) { s.files = 23 },
		"threads": func(s *sample) { s.threads = 13 },
		"MB":      func(s *sample) { s.rss = 46 << 10 },
	} {
		all := append([]sample(nil), flat...)
		change(&all[2])
		if err := steady(all); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
