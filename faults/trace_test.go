package faults_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/faulttest"
)

var update = flag.Bool("update", false, "write what was found into the traces")

// TestTraces plays the golden conversations.
func TestTraces(t *testing.T) { faulttest.Run(t, "testdata/*.trace", *update) }

// TestEveryKnobHasATrace holds that no setting of any fault goes without a
// conversation that shows what it does: each knob, and each word that one may
// have, stands in a trace.
func TestEveryKnobHasATrace(t *testing.T) {
	tried := map[string]map[string]bool{} // fault -> "knob=value"
	files, _ := filepath.Glob("testdata/*.trace")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			words := strings.Fields(line)
			if len(words) < 2 || words[0] != "fault" {
				continue
			}
			if tried[words[1]] == nil {
				tried[words[1]] = map[string]bool{}
			}
			for _, kv := range words[2:] {
				tried[words[1]][kv] = true
			}
		}
	}
	for _, kind := range faults.Catalog {
		if tried[kind.Name] == nil {
			t.Errorf("%s: no trace", kind.Name)
			continue
		}
		for _, k := range faults.Knobs(kind.New()) {
			values := slices.DeleteFunc(slices.Clone(k.OneOf), func(v string) bool { return v == "" || v == k.Default })
			if k.Type == "client|server|both" {
				values = []string{"client", "server"}
				values = slices.DeleteFunc(values, func(v string) bool { return v == k.Default })
			}
			for _, v := range values {
				if !tried[kind.Name][k.Name+"="+v] {
					t.Errorf("%s: no trace with %s=%s", kind.Name, k.Name, v)
				}
			}
			if len(values) == 0 && !anyHas(tried[kind.Name], k.Name+"=") {
				t.Errorf("%s: no trace with %s", kind.Name, k.Name)
			}
		}
	}
}

func anyHas(set map[string]bool, prefix string) bool {
	for s := range set {
		if strings.HasPrefix(s, prefix) {
			return true
		}
	}
	return false
}
