package cli

import (
	"strings"
	"testing"
)

// TestDashesMissing holds that a command which does not stand behind -- is shown
// where it would, whatever flags it has itself.
func TestDashesMissing(t *testing.T) {
	for line, want := range map[string]string{
		"verify go test -race ./x":              "Did you mean faultctl verify -- go test -race ./x?",
		"verify --faults reset --repeat=2 true": "Did you mean faultctl verify --faults reset --repeat=2 -- true?",
		"run reset --to :5 true --flag":         "Did you mean faultctl run reset --to :5 -- true --flag?",
		"run --to :5 syn-drop --attempts 2 sh":  "Did you mean faultctl run --to :5 syn-drop --attempts 2 -- sh?",
		"run true":                              "Did you mean faultctl run reset -- true?",
		"run --fault reset true":                "Did you mean faultctl run --fault reset -- true?",
		"run rset":                              `unknown fault "rset", did you mean "reset"?`,
		"run reset syn-drop":                    "--fault syn-drop",
		"run reset":                             "which command?",
		"verify reset:at=fin":                   "--faults reset:at=fin",
		"verify --nope true":                    "unknown flag --nope",
		"inject reset true":                     "takes one FAULT",
	} {
		w := newWorld(t)
		code := w.faultctl(line)
		if said := strings.Join(strings.Fields(w.err.String()), " "); code != exitUsage && code != exitRunFailed || !strings.Contains(said, want) {
			t.Errorf("%s: exit %d, want %q in\n%s", line, code, want, said)
		}
	}
}

// TestFlagForms holds in which forms flags are taken: in any place, with one dash
// or two, with = or a blank, short ones with their value attached.
func TestFlagForms(t *testing.T) {
	var first string
	for _, line := range []string{
		"inject reset --to :80 --percent 50 --new-only --dry-run -o json",
		"inject --to :80 reset --percent=50 --new-only=true --dry-run=1 -ojson",
		"inject -to=:80 --percent 50 -new-only -dry-run -o=json reset",
		"inject --fault reset -o json --dry-run --percent 5 --new-only --percent 50 --to :80",
	} {
		w := newWorld(t)
		if code := w.faultctl(line); code != exitOK {
			t.Errorf("%s: exit %d\n%s", line, code, &w.err)
		}
		if first == "" {
			first = w.out.String()
		}
		if w.out.String() != first || !strings.Contains(first, "--percent 50 --new-only") {
			t.Errorf("%s: it says\n%s\nand not\n%s", line, &w.out, first)
		}
	}
	for line, says := range map[string]string{
		"inject reset -x":             "unknown flag --x",
		"inject reset -percnt 5":      `unknown flag --percnt, did you mean "percent"?`,
		"inject reset -o":             "--output needs a value",
		"inject reset --dry-run=nope": "reset: --dry-run=nope: it is true or false",
		"scenario run x -o":           "--output needs a value",
		"doctor --output":             "doctor: --output needs a value",
		"-x":                          "faultctl: unknown flag --x",
	} {
		w := newWorld(t)
		if code := w.faultctl(line); code != exitUsage || !strings.Contains(w.err.String(), says) {
			t.Errorf("%s: exit %d, want %q in\n%s", line, code, says, &w.err)
		}
	}
}
