package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/experiment/document"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/scenario"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

const examples = "../examples/scenarios"

// TestScenarioPages holds that what is published is what the code goes by. With
// -update it is written anew, which is what make docs does.
func TestScenarioPages(t *testing.T) {
	w := newWorld(t)
	if code := w.faultctl("scenario schema"); code != exitOK {
		t.Errorf("exit %d\n%s", code, &w.err)
	}
	golden(t, "../../docs/scenario.schema.json", w.out.String())
	example, err := os.ReadFile(filepath.Join(examples, "redis-cache.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	scenario.Page(&b, string(example))
	golden(t, "../../docs/SCENARIOS.md", b.String())
}

// The published schema is a schema, by the standard's own.
func TestScenarioSchema(t *testing.T) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(scenario.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	if err := jsonschema.NewCompiler().MustCompile("https://json-schema.org/draft/2020-12/schema").Validate(doc); err != nil {
		t.Error(err)
	}
	// Each target flag is a word of a target, with what it is for.
	words := doc.(map[string]any)["$defs"].(map[string]any)["target"].(map[string]any)["properties"].(map[string]any)
	for _, f := range targetFlags() {
		if w, ok := words[f.Name].(map[string]any); !ok || w["description"] == "" {
			t.Errorf("--%s is no word of a target", f.Name)
		}
	}
	if len(words) != len(targetFlags()) {
		t.Errorf("%d words, %d flags", len(words), len(targetFlags()))
	}
}

// The examples are right, say what they try, and make plans.
func TestScenarioExamples(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(examples, "*.yaml"))
	if err != nil || len(files) < 5 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	for _, file := range files {
		w := newWorld(t)
		if code := w.run([]string{"faultctl", "scenario", "validate", file}); code != exitOK {
			t.Errorf("%s: exit %d\n%s", file, code, &w.err)
			continue
		}
		s, _, err := readScenario(file)
		if err != nil || s == nil || s.Description == "" || len(s.Probes) == 0 || len(s.Abort) == 0 {
			t.Errorf("%s: an example describes itself, has probes and an abort: %v", file, err)
		}
		w = newWorld(t)
		if code := w.run([]string{"faultctl", "scenario", "run", "--dry-run", file}); code != exitOK {
			t.Errorf("%s: a dry run exits with %d\n%s", file, code, &w.err)
		}
	}
}

const wrongDay = `name: wrong
target: {too: ":80"}
faults:
  - fault: rset
    duration: 1m
  - fault: "reset:hit=cliet"
    duration: 60
  - fault: {reset: {hit: cliet}}
    name: third
    duration: 1m
`

func TestScenarioValidate(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	write := func(name, content string) string {
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return name
	}
	good := write("good.yaml", oneFault)
	for _, tc := range []struct {
		file string // content
		want []string
	}{
		{wrongDay, []string{
			`f.yaml:2:10: target: unknown key "too", did you mean "to"?`,
			`f.yaml:4:12: faults[0].fault: unknown fault "rset", did you mean "reset"?`,
			`f.yaml:6:12: faults[1].fault: reset: hit: "cliet" is neither client, server nor both`,
			`f.yaml:7:15: faults[1].duration: "60" has no unit: did you mean 60s?`,
			`f.yaml:8:26: faults[2].fault.reset.hit: "cliet" is neither client, server nor both`,
		}},
		{strings.NewReplacer("too:", "to:", "60", "1m").Replace(wrongDay), []string{
			`f.yaml:4:12: faults[0].fault: unknown fault "rset", did you mean "reset"?`,
			`f.yaml:6:12: faults[1].fault: reset: hit: "cliet" is neither client, server nor both`,
			`f.yaml:8:26: faults[2].fault.reset.hit: "cliet" is neither client, server nor both`,
		}},
		{"target: {to: \":80 :99999\"}\n" + oneFault, nil},
		{"target: {to: \":80 :99999\"}\nfaults: [{fault: reset, duration: 1s}]\n", []string{`f.yaml:1:14: target.to: :99999: "99999" is not a port from 1 to 65535`}},
		{"faults: [{fault: reset, duration: 1s, target: {to: 5432}}]\n", []string{`f.yaml:1:52: faults[0].target.to: 5432: a port stands behind a colon: did you mean :5432?`}},
		{"faults: [{fault: reset, duration: 1s, target: {every: 0}}]\n", []string{`f.yaml:1:55: faults[0].target.every: 0: not a whole number from 1 on`}},
		{"faults: [{fault: \"syn-drop,reset\", duration: 1s}]\n", []string{"f.yaml:1:18: faults[0].fault: these faults contradict each other: syn-drop drops every SYN, so reset never sees a connection: give syn-drop attempts or backlog, or leave one of them out"}},
		{"faults: [{fault: idle-expire, duration: 1s}]\n", []string{"f.yaml:1:18: faults[0].fault: idle-expire: after: how long may a flow be idle? Give a time, such as 300s, or a preset"}},
	} {
		file := write("f.yaml", tc.file)
		w := newWorld(t)
		w.sys.Lookup = nil // nobody is asked
		code := w.run([]string{"faultctl", "scenario", "validate", good, file, "-o", "json"})
		var checks []event.FileCheck
		for line := range strings.Lines(w.out.String()) {
			var c event.FileCheck
			if err := json.Unmarshal([]byte(line), &c); err != nil {
				t.Fatal(err)
			}
			checks = append(checks, c)
		}
		var got []string
		for _, p := range checks[1].Problems {
			got = append(got, document.Problem(p).String())
		}
		if d := cmp.Diff(tc.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", tc.file, d)
		}
		if !checks[0].OK || checks[1].OK != (tc.want == nil) || (code == exitOK) != (tc.want == nil) || code != exitOK && code != exitUsage {
			t.Errorf("%s: exit %d, ok %v and %v", tc.file, code, checks[0].OK, checks[1].OK)
		}
		w = newWorld(t)
		w.sys.Lookup = nil
		w.run([]string{"faultctl", "scenario", "validate", file})
		for _, want := range tc.want {
			if !strings.Contains(w.err.String(), want+"\n") {
				t.Errorf("%s: does not print %q:\n%s", tc.file, want, &w.err)
			}
		}
	}
}

func TestScenarioRefusals(t *testing.T) {
	t.Chdir(t.TempDir())
	os.WriteFile("big.yaml", bytes.Repeat([]byte("# nothing\n"), 1<<18), 0o644)
	for line, says := range map[string]string{
		"scenario":                          "run, validate, init or schema?",
		"scenario rnu":                      `unknown command "rnu", did you mean "run"?`,
		"scenario run":                      "which FILE?",
		"scenario run none.yaml":            "none.yaml: there is no such file",
		"scenario run .":                    "is a directory",
		"scenario run big.yaml":             "larger than 1 MiB",
		"scenario validate":                 "which FILE?",
		"scenario validate none.yaml":       "there is no such file",
		"scenario validate big.yaml -o xml": "neither text nor json",
		"scenario schema x":                 `unexpected argument "x"`,
	} {
		w := newWorld(t)
		if code := w.faultctl(line); code != exitUsage || !strings.Contains(w.err.String(), says) {
			t.Errorf("%s: exit %d\n%s", line, code, &w.err)
		}
	}
}

// Whatever a target flag is called and takes, a file can say it.
func TestScenarioWords(t *testing.T) {
	values := map[string]string{
		"to": "[':80', '!:81']", "from": "10.0.0.7", "percent": "50", "new-only": "true", "cgroup": "/app", "uid": "0",
		"netns": "/proc/self/ns/net", "pid": "", "container": "", // one of them
	}
	target := ""
	for _, f := range targetFlags() {
		name := f.Name
		v, special := values[name]
		if _, isList := f.Value.(*listValue); !special && !isList {
			v = "3"
		}
		if v != "" {
			target += "  " + name + ": " + v + "\n"
		}
	}
	withFakeClock(t, func(t *testing.T, w *fakeClockWorld) {
		code := w.play(t, "target:\n"+target+"faults: [{fault: reset, duration: 1s}]\n", "-o", "json")
		if code != exitOK {
			t.Errorf("exit %d\n%s\n%s", code, target, &w.err)
		}
	})
}

// TestScenarioEmptyFlags holds that a variable of a shell which is not set does not
// turn a flag off in silence.
func TestScenarioEmptyFlags(t *testing.T) {
	for _, flag := range []string{"--pcap", "--metrics", "--seed", "--log-level", "--report"} {
		withFakeClock(t, func(t *testing.T, w *fakeClockWorld) {
			if code := w.play(t, oneFault, flag, ""); code != exitUsage || !strings.Contains(w.err.String(), flag) || w.log != nil {
				t.Errorf("%s: exit %d, did %q: %s", flag, code, w.log, &w.err)
			}
		})
	}
}

// TestScenarioUnreadable holds that a file which breaks off is not taken for a
// shorter one.
func TestScenarioUnreadable(t *testing.T) {
	w := newWorld(t)
	if code := w.faultctl("scenario validate /proc/self/mem"); code != exitUsage || !strings.Contains(w.err.String(), "read /proc/self/mem: ") {
		t.Errorf("exit %d: %s%s", code, &w.out, &w.err)
	}
}

// TestScenarioInit holds that what it writes is valid, that it overwrites nothing, and
// that validate tells of warnings in either form.
func TestScenarioInit(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "day.yaml")
	w := newWorld(t)
	if code := w.faultctl("scenario init " + file + " --to :6379"); code != exitOK {
		t.Fatalf("exit %d\n%s", code, &w.err)
	}
	w = newWorld(t)
	if code := w.faultctl("scenario validate " + file); code != exitOK || !strings.Contains(w.out.String(), "fine: 2 faults, 1 probe, 2m") || w.err.Len() > 0 {
		t.Errorf("exit %d\n%s%s", code, &w.out, &w.err)
	}
	w = newWorld(t)
	if code := w.faultctl("scenario init " + file); code != exitUsage || !strings.Contains(w.err.String(), "is there already") {
		t.Errorf("exit %d\n%s", code, &w.err)
	}
	w = newWorld(t)
	if code := w.faultctl("scenario init"); code != exitOK || !strings.Contains(w.out.String(), `to: ":5432"`) {
		t.Errorf("exit %d\n%s%s", code, &w.out, &w.err)
	}
	w = newWorld(t)
	if code := w.faultctl("scenario init --to nonsense"); code != exitUsage {
		t.Errorf("exit %d\n%s%s", code, &w.out, &w.err)
	}
	if err := os.WriteFile(file, []byte("duration: 10s\nfaults: [{fault: 'idle-expire:after=300s', target: {to: ':1'}}]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	w = newWorld(t)
	if code := w.faultctl("scenario validate " + file); code != exitOK || !strings.Contains(w.err.String(), "warning: idle-expire waits for 5m") {
		t.Errorf("exit %d\n%s%s", code, &w.out, &w.err)
	}
	w = newWorld(t)
	if code := w.faultctl("scenario validate -o json " + file); code != exitOK || !strings.Contains(w.out.String(), `"ok":true,"problems":[],"warnings":[{"file":`) {
		t.Errorf("exit %d\n%s%s", code, &w.out, &w.err)
	}
}

// TestOtherWords holds that words of other tools lead to ours, wherever they are typed.
func TestOtherWords(t *testing.T) {
	for line, want := range map[string]string{
		"inject latency --to :80":      `did you mean "delay"?`,
		"inject blackhole":             `did you mean "partition"?`,
		"inject reset --port 80":       `did you mean "to"?`,
		"inject delay --latency 100ms": `did you mean "by"?`,
		"verify --faults bandwidth":    `did you mean "throttle"?`,
		"verify --parallel 4":          `did you mean "jobs"?`,
		"inject loss --probability 5":  `did you mean "chance"?`,
		"inject reset --probability 5": `did you mean "chance"?`,
		"scenario check x.yaml":        `did you mean "validate"?`,
		"demo packet-loss":             `did you mean "loss"?`,
		"faults latency":               `did you mean "delay"?`,
	} {
		w := newWorld(t)
		code := 0
		if strings.HasPrefix(line, "verify") {
			code = w.runs(t, line, "true")
		} else {
			code = w.faultctl(line)
		}
		if code != exitUsage || !strings.Contains(w.err.String(), want) {
			t.Errorf("%s: exit %d, want %s\n%s", line, code, want, &w.err)
		}
	}
}
