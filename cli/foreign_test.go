package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
)

// hostile is text that would change what a terminal shows: a title, a colour, a line
// written over, a line that pretends to be faultctl's, text from right to left.
const hostile = "a\x1b]0;owned\a\x1b[31m\rb\u202e\u009b2J\nfaultctl: all is well\x00"

// TestForeignText holds that text of others reaches the terminal escaped, through
// whichever door it comes in, and is not taken for a line of faultctl.
func TestForeignText(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	hostileFile := file(strings.ReplaceAll(hostile, "\x00", ""), "nothing")
	quoted := fmt.Sprintf("%q", strings.ReplaceAll(hostile, "\u009b", "")) // JSON, and YAML in double quotes
	quoted = strings.NewReplacer(`\a`, `\u0007`, `\x1b`, `\u001b`, `\x00`, `\u0000`).Replace(quoted)
	scenario := func(name, text string) string { return file(name, fmt.Sprintf(text, quoted)) }
	record := func(name, text string) string {
		return file(name, fmt.Sprintf(`{"time":"2026-03-04T12:00:00Z","event":"started","repeat":"x","spec":{"fault":["reset"],"seed":"1","target":{"to":[":5432"]},"duration":"1s"}}`+"\n"+text+"\n", quoted))
	}
	for name, args := range map[string][]string{
		"command":           {hostile},
		"fault":             {"inject", hostile},
		"SPEC":              {"inject", "reset:at=" + hostile, "--to", ":80"},
		"pattern":           {"inject", "reset:at=match=" + hostile, "--to", ":5432", "--duration", "1s"},
		"pattern, dry run":  {"inject", "reset:at=match=" + hostile, "--to", ":5432", "--dry-run"},
		"flag":              {"inject", "reset", "--" + hostile},
		"--to":              {"inject", "reset", "--to", hostile},
		"--from":            {"inject", "reset", "--from", hostile},
		"--netns":           {"inject", "reset", "--netns", hostile},
		"--netns, a path":   {"inject", "reset", "--netns", "/" + hostile},
		"--container":       {"inject", "reset", "--container", hostile},
		"--cgroup":          {"inject", "reset", "--cgroup", hostile},
		"--uid":             {"inject", "reset", "--uid", hostile},
		"--percent":         {"inject", "reset", "--percent", hostile},
		"--report":          {"inject", "reset", "--to", ":5432", "--report", "/" + hostile + "/x.json", "--duration", "1s"},
		"--pcap":            {"inject", "reset", "--to", ":5432", "--pcap", "/" + hostile + "/x", "--duration", "1s"},
		"--metrics":         {"inject", "reset", "--to", ":5432", "--metrics", hostile, "--duration", "1s"},
		"--duration":        {"inject", "reset", "--duration", hostile},
		"--output":          {"inject", "reset", "-o", hostile},
		"--log-level":       {"inject", "reset", "--log-level", hostile},
		"json":              {"inject", "reset", "--to", hostile, "-o", "json"},
		"command to run":    {"run", "reset", "--", hostile},
		"arguments":         {"run", "reset", "--", "true", hostile},
		"verify":            {"verify", "--faults", "reset", "--dry-run", "--", "true", hostile},
		"--plan":            {"verify", "--plan", hostileFile, "--", "true"},
		"--plan, its lines": {"verify", "--plan", file("plan", hostile), "--", "true"},
		"faults":            {"faults", hostile},
		"file":              {"scenario", "validate", hostileFile},
		"no file":           {"scenario", "run", "/" + hostile},
		"scenario":          {"scenario", "validate", file("raw.yaml", hostile)},
		"scenario's key":    {"scenario", "validate", scenario("key.yaml", "faults: [{fault: reset, %s: 1}]")},
		"scenario's name":   {"scenario", "run", "--dry-run", scenario("name.yaml", "name: %s\nfaults: [{fault: reset, target: {to: ':5432'}}]")},
		"fault's name":      {"scenario", "run", "--dry-run", scenario("fault.yaml", "faults: [{fault: reset, name: %s, target: {to: ':5432'}}]")},
		"description":       {"scenario", "run", "--dry-run", scenario("text.yaml", "description: %s\nfaults: [{fault: reset, target: {to: ':5432'}}]")},
		"probe's name":      {"scenario", "run", "--dry-run", scenario("probe.yaml", "faults: [{fault: reset, target: {to: ':5432'}}]\nprobes: [{name: %s, tcp: {address: '127.0.0.1:1'}}]")},
		"probe's address":   {"scenario", "validate", scenario("address.yaml", "faults: [{fault: reset}]\nprobes: [{name: x, tcp: {address: %s}}]")},
		"probe's URL":       {"scenario", "validate", scenario("url.yaml", "faults: [{fault: reset}]\nprobes: [{name: x, http: {url: %s}}]")},
		"recording":         {"replay", hostileFile},
		"no recording":      {"replay", "/" + hostile},
		"recording's event": {"replay", record("event", `{"event":%s}`)},
		"recorded decision": {"replay", record("fired", `{"event":"flow","flow":{"client":"10.0.0.1:1","server":"10.0.0.5:5432"},"rule":0,"ordinal":3}`+"\n"+`{"event":"fired","fault":"reset","flow":{"client":"10.0.0.1:1","server":"10.0.0.5:5432"},"rule":0,"ordinal":3,"action":"rst","to":"client","reason":%s}`)},
		"recorded case":     {"replay", record("case", `{"event":"ready"}`), "--case", hostile},
	} {
		t.Run(name, func(t *testing.T) {
			for i, a := range args { // an argument has no NUL
				args[i] = strings.ReplaceAll(a, "\x00", "")
			}
			w := newWorld(t)
			w.host.run(append([]string{"faultctl"}, args...))
			all := append(w.out.Bytes(), w.err.Bytes()...)
			if !bytes.Contains(all, []byte("owned")) && !bytes.Contains(all, []byte("all is well")) {
				t.Logf("nothing of the text is printed:\n%s", all)
			}
			for _, r := range string(all) {
				if !unicode.IsGraphic(r) && r != '\n' && r != '\t' {
					t.Errorf("%q is printed raw:\n%q", r, all)
					break
				}
			}
			for line := range strings.Lines(string(all)) {
				if strings.HasPrefix(line, "faultctl: all is well") {
					t.Errorf("a line is faked:\n%s", all)
				}
			}
		})
	}
}
