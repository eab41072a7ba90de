package faults_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/internal/trace"
)

var update = flag.Bool("update", false, "write what was found into the traces")

// TestTraces plays the golden conversations.
func TestTraces(t *testing.T) { trace.Run(t, "testdata/*.trace", *update) }

// TestEveryKnobHasATrace holds that no setting of any fault goes without a
// conversation that shows what it does: each knob, and each word that one may
// have, stands in a trace.
func TestEveryKnobHasATrace(t *testing.T) {
	tried := map[string]map[string]bool{} // fault -> "knob=value"
	for spec := range tracedSpecs(t) {
		if tried[spec[0]] == nil {
			tried[spec[0]] = map[string]bool{}
		}
		for _, kv := range spec[1:] {
			tried[spec[0]][kv] = true
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

// TestEveryTriggerHasATrace holds that each moment at which a fault can strike is
// shown by a trace.
func TestEveryTriggerHasATrace(t *testing.T) {
	for _, form := range faults.TriggerForms {
		prefix, arg, has := strings.Cut(form, "=")
		if has {
			prefix += "="
		}
		if strings.HasPrefix(form, "match=/") {
			prefix = "match=/"
		}
		_, side, _ := strings.Cut(arg, "@")
		shown := false
		for spec := range tracedSpecs(t) {
			for _, kv := range spec[1:] {
				at, ok := strings.CutPrefix(kv, "at=")
				shown = shown || ok && strings.HasPrefix(at, prefix) && strings.HasSuffix(at, side)
			}
		}
		if !shown {
			t.Errorf("no trace with at=%s", form)
		}
	}
}

// TestEveryKnobMatters holds that some trace would show it if a knob did nothing:
// without the knob that it sets it plays otherwise.
func TestEveryKnobMatters(t *testing.T) {
	matters := map[[2]string]bool{}
	files, _ := filepath.Glob("testdata/*.trace")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(text), "\n")
		for i, line := range lines {
			words := strings.Fields(line)
			if len(words) < 3 || words[0] != "fault" {
				continue
			}
			for j := 2; j < len(words); j++ {
				name, _, _ := strings.Cut(words[j], "=")
				if matters[[2]string{words[1], name}] {
					continue
				}
				without := slices.Clone(lines)
				without[i] = strings.Join(slices.Delete(slices.Clone(words), j, j+1), " ")
				got, err := trace.Play(strings.Join(without, "\n"), false)
				without = strings.Split(got, "\n")
				if err == nil && i < len(without) {
					without[i] = line
				}
				if err != nil || strings.Join(without, "\n") != string(text) {
					matters[[2]string{words[1], name}] = true
				}
			}
		}
	}
	for _, kind := range faults.Catalog {
		for _, k := range faults.Knobs(kind.New()) {
			if !matters[[2]string{kind.Name, k.Name}] {
				t.Errorf("%s: every trace plays the same without %s", kind.Name, k.Name)
			}
		}
	}
}
