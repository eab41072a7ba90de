package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// commandLine is a line of a block of code that begins with faultctl, also as a step of
// a GitHub workflow; composeLine is the command of a service whose image is faultctl.
var (
	commandLine = regexp.MustCompile(`^(?:\$ | *- run: )?(?:sudo )?(?:faultctl|"\$\(command -v faultctl\)") (.*)$`)
	composeLine = regexp.MustCompile(`^ +command: (.*)$`)
)

// TestPagesCommands holds that each command line that the pages show is
// understood. Those that would start something are only planned.
func TestPagesCommands(t *testing.T) {
	for page, least := range map[string]int{"README.md": 7, "examples/README.md": 4, "docs/SCENARIOS.md": 4, "docs/CONTAINERS.md": 3} {
		text, err := os.ReadFile(filepath.Join("..", page))
		if err != nil {
			t.Fatal(err)
		}
		inCode, found := false, 0
		for n, line := range strings.Split(string(text), "\n") {
			if strings.HasPrefix(line, "```") {
				inCode = !inCode
			}
			m := commandLine.FindStringSubmatch(line)
			if m == nil {
				m = composeLine.FindStringSubmatch(line)
			}
			if !inCode || m == nil {
				continue
			}
			found++
			w := newWorld(t)
			w.sys.Caged = strings.Contains(line, "--isolate")
			if code := w.run(planned(t, "faultctl "+m[1])); code != exitOK {
				t.Errorf("%s:%d: %s: exit %d\n%s", page, n+1, m[1], code, &w.err)
			}
		}
		if found < least {
			t.Errorf("%s: %d command lines were found, there were %d", page, found, least)
		}
	}
}

// planned is a command line that does as little as can be, with files that there
// are.
func planned(t *testing.T, line string) []string {
	t.Helper()
	line, _, _ = strings.Cut(line, " #")
	line, _, _ = strings.Cut(line, " >")
	words := strings.Fields(line)
	end := len(words)
	for i, w := range words {
		switch {
		case w == "--":
			end = min(end, i)
		case w == "gameday.yaml" && i > 0 && words[i-1] == "init": // it must not be there
			words[i] = filepath.Join(t.TempDir(), w)
		case w == "gameday.yaml":
			words[i] = "../examples/scenarios/redis-cache.yaml"
		case strings.HasPrefix(w, "examples/"):
			words[i] = filepath.Join("..", w)
		}
	}
	if words[1] == "scenario" && words[2] != "run" {
		return words
	}
	return append(append(append([]string{}, words[:end]...), "--dry-run"), words[end:]...)
}

// TestHelpSaysExitCode holds that each command says with which code it ends if a
// fault never fired.
func TestHelpSaysExitCode(t *testing.T) {
	for line, want := range map[string]string{
		"inject": "exit 4 if a fault never fired\n", "inject reset": "exit 4 if a fault never fired\n", "replay": "exit 4 if a fault never fired\n",
		"run": "exit 124 if a fault never fired (the default)", "run reset": "exit 124 if a fault never fired (the default)",
		"verify": "exit 4 if a fault never fired (the default)",
	} {
		w := newWorld(t)
		if w.faultctl(line + " --help"); !strings.Contains(w.out.String(), want) {
			t.Errorf("%s --help does not say %q:\n%s", line, want, &w.out)
		}
	}
}
