package cli

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/cli/internal/text"
	"github.com/faultctl/faultctl/faults"
	"github.com/spf13/pflag"
)

func TestFaultsJSON(t *testing.T) {
	for line, want := range map[string]int{"faults -o json": len(faults.Catalog), "faults reset -o json": 1, "faults --output=json reset": 1} {
		w := newWorld(t)
		w.faultctl(line)
		var list []map[string]any
		if err := json.Unmarshal(w.out.Bytes(), &list); err != nil || len(list) != want {
			t.Fatalf("%s: %d faults, %v", line, len(list), err)
		}
		for _, key := range []string{"name", "group", "cause", "symptom", "remedy", "example", "knobs"} {
			if list[0][key] == nil {
				t.Errorf("%s: no field %s", line, key)
			}
		}
		for _, key := range []string{"name", "type", "default", "help"} {
			if _, ok := list[0]["knobs"].([]any)[0].(map[string]any)[key]; !ok {
				t.Errorf("%s: a knob without the field %s", line, key)
			}
		}
	}
}

// TestFaultsJSONSaysAll holds that programs read of each fault what people do:
// cause, symptom, remedy, and each knob with its default.
func TestFaultsJSONSaysAll(t *testing.T) {
	w := newWorld(t)
	w.faultctl("faults -o json")
	var list []struct {
		Name, Group, Cause, Symptom, Remedy, Example string
		Knobs                                        []struct{ Name, Type, Default, Help string }
	}
	if err := json.Unmarshal(w.out.Bytes(), &list); err != nil || len(list) != len(faults.Catalog) {
		t.Fatalf("%d faults, %v", len(list), err)
	}
	for i, k := range faults.Catalog {
		got := list[i]
		if got.Name != k.Name || got.Group != k.Group || got.Cause != k.Cause || got.Symptom != k.Symptom || got.Remedy != k.Remedy || got.Example != k.Example {
			t.Errorf("%s: %+v", k.Name, got)
		}
		knobs := faults.Knobs(k.New())
		if len(got.Knobs) != len(knobs) {
			t.Fatalf("%s: %d knobs, want %d", k.Name, len(got.Knobs), len(knobs))
		}
		for j, knob := range knobs {
			if g := got.Knobs[j]; g.Name != knob.Name || g.Default != knob.Default || g.Help != knob.Help || g.Type == "" {
				t.Errorf("%s: %+v, want %+v", k.Name, g, knob)
			}
		}
	}
}

// A SPEC is taken wherever a FAULT is.
func TestFaultsTakesSpec(t *testing.T) {
	name, spec := newWorld(t), newWorld(t)
	if name.faultctl("faults idle-expire"); spec.faultctl("faults idle-expire:after=3s") != exitOK || spec.out.String() != name.out.String() {
		t.Errorf("a SPEC is explained otherwise than its fault:\n%s%s", &spec.out, &spec.err)
	}
}

// The catalogue teaches everything about each fault, and its example works.
func TestFaultsTeach(t *testing.T) {
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	w := newWorld(t)
	w.faultctl("faults")
	list := squeeze(w.out.String())
	for _, k := range faults.Catalog {
		if !strings.Contains(list, k.Name+" "+squeeze(k.Cause)) {
			t.Errorf("faults does not list %s with its cause", k.Name)
		}
		w := newWorld(t)
		w.faultctl("faults " + k.Name)
		text := squeeze(w.out.String())
		for _, part := range []string{k.Cause, k.Symptom, k.Remedy, k.Example} {
			if part == "" || !strings.Contains(text, squeeze(part)) {
				t.Errorf("faults %s does not say %q", k.Name, part)
			}
		}
		for _, knob := range faults.Knobs(k.New()) {
			if !strings.Contains(text, "--"+knob.Name) || !strings.Contains(text, squeeze(knob.Help)) || knob.Help == "" {
				t.Errorf("faults %s does not explain --%s", k.Name, knob.Name)
			}
		}
		for _, p := range k.PresetValues() {
			if !strings.Contains(text, p.Name) || !strings.Contains(text, squeeze(p.Source)) {
				t.Errorf("faults %s does not say where %s comes from", k.Name, p.Name)
			}
		}
		narrow(t, "faults "+k.Name, w.out.String())
		w = newWorld(t)
		if code := w.faultctl(strings.TrimPrefix(k.Example, "faultctl ") + " --duration 1s"); code != exitOK {
			t.Errorf("the example of %s exits with %d: %s\n%s", k.Name, code, k.Example, &w.err)
		}
	}
}

func narrow(t *testing.T, what, content string) {
	t.Helper()
	for _, line := range strings.Split(content, "\n") {
		if text.Width(line) > 100 {
			t.Errorf("%s: a line of %d letters: %s", what, text.Width(line), line)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, line := range []string{"", "--help", "-h", "help"} {
		w := newWorld(t)
		if code := w.faultctl(line); code != exitOK {
			t.Errorf("%q: exit %d", line, code)
		}
		golden(t, "help.txt", w.out.String())
	}
	w := newWorld(t)
	w.faultctl("--help")
	lines := strings.Split(strings.TrimRight(w.out.String(), "\n"), "\n")
	if len(lines) > 24 {
		t.Errorf("the help has %d lines: a screen has 24", len(lines))
	}
	for _, l := range lines {
		if text.Width(l) > 80 {
			t.Errorf("a screen has 80 columns: %s", l)
		}
	}
	for _, line := range []string{"doctor --help", "help doctor"} {
		w := newWorld(t)
		w.faultctl(line)
		golden(t, "help-doctor.txt", w.out.String())
	}
}

// Help of every command names every flag and stays narrow, and its examples
// are understood.
func TestHelpOfCommands(t *testing.T) {
	lines := []string{}
	for _, c := range (&invocation{host: newWorld(t).host}).program(nil).Commands() {
		if !c.IsAvailableCommand() {
			continue
		}
		lines = append(lines, c.Name())
		for _, sub := range c.Commands() {
			lines = append(lines, c.Name()+" "+sub.Name())
		}
		for _, k := range faults.Catalog {
			if slices.Contains([]string{"inject", "run", "demo", "faults"}, c.Name()) {
				lines = append(lines, c.Name()+" "+k.Name)
			}
		}
	}
	for _, line := range lines {
		w := newWorld(t)
		if code := w.faultctl(line + " --help"); code != exitOK {
			t.Errorf("%s --help: exit %d\n%s", line, code, &w.err)
		}
		words := strings.Fields("faultctl " + line)
		cmd, _, err := (&invocation{host: w.host}).program(words).Find(words[1:])
		if err != nil {
			t.Fatal(err)
		}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			for _, name := range append(f.Annotations[oldSpellings], f.Name) {
				old := strings.Contains(strings.Join(strings.Fields(w.out.String()), " "), "old spelling: "+name)
				if f.Annotations[headingOf] != nil && !strings.Contains(w.out.String(), "--"+name) && !old {
					t.Errorf("%s --help does not name --%s", line, name)
				}
			}
		})
		narrow(t, line, w.out.String())
		if !strings.HasPrefix(w.out.String(), "usage: faultctl "+line) {
			t.Errorf("%s --help begins with %.40q", line, w.out.String())
		}
		if !strings.HasPrefix(line, "inject") {
			continue
		}
		for _, example := range strings.Split(cmd.Example, "\n") {
			w := newWorld(t)
			if code := w.faultctl(strings.TrimPrefix(example, "faultctl ") + " --duration 1s"); code != exitOK {
				t.Errorf("%s: exit %d\n%s", example, code, &w.err)
			}
		}
	}
}

// TestHelpOfContainer holds that help promises only of those commands to follow a
// container that do.
func TestHelpOfContainer(t *testing.T) {
	for cmd, follows := range map[string]bool{"inject": true, "run": false, "verify": false} {
		w := newWorld(t)
		w.faultctl(cmd + " --help")
		if text := strings.Join(strings.Fields(w.out.String()), " "); strings.Contains(text, "follow it") != follows || !strings.Contains(text, "--container") {
			t.Errorf("%s follows a container: want %v\n%s", cmd, follows, text)
		}
	}
}

// Help for one fault is reached however the line is written.
func TestHelpOfFault(t *testing.T) {
	var first string
	for _, line := range []string{"inject reset --help", "inject --help reset", "inject -h reset --to :80", "help inject reset"} {
		w := newWorld(t)
		w.faultctl(line)
		if first == "" {
			first = w.out.String()
		}
		if w.out.String() != first || !strings.Contains(first, "--shape") {
			t.Errorf("%s:\n%s", line, &w.out)
		}
	}
}
