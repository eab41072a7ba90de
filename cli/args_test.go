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
		"inject reset true":                     "One FAULT",
	} {
		w := newWorld(t)
		code := w.faultctl(line)
		if said := strings.Join(strings.Fields(w.err.String()), " "); code != exitUsage && code != exitRunFailed || !strings.Contains(said, want) {
			t.Errorf("%s: exit %d, want %q in\n%s", line, code, want, said)
		}
	}
}
