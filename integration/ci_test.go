package integration

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// action is action.yml: keys that GitHub does not know are errors.
type action struct {
	Name, Description string
	Branding          struct{ Icon, Color string }
	Inputs            map[string]struct {
		Description, Default string
		Required             bool
	}
	Outputs map[string]struct{ Description, Value string }
	Runs    struct {
		Using string
		Steps []struct {
			ID, Shell, Run, Uses, If string
			Env, With                map[string]string
		}
	}
}

// template is packaging/ci/gitlab.yml, likewise.
type template struct {
	Job struct {
		Variables map[string]string
		Script    []string
		Artifacts struct {
			When    string
			Paths   []string
			Reports struct{ Junit string }
		}
	} `yaml:".faultctl-verify"`
}

// strictly reads a YAML file that has no keys but those of v.
func strictly(t *testing.T, file string, v any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(v); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// workshop has faultctl and a program under test, and a directory in which a CI job runs.
type workshop struct{ bin, dir string }

func newWorkshop(t *testing.T) workshop {
	t.Helper()
	w := workshop{t.TempDir(), t.TempDir()}
	for name, pkg := range map[string]string{"faultctl": "..", "orders": "../examples/orders"} {
		if out, err := exec.Command("go", "build", "-o", filepath.Join(w.bin, name), pkg).CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	return w
}

// run runs a script with a shell in a network namespace of its own, and returns its exit
// code and what it prints.
func (w workshop) run(t *testing.T, shell []string, script string, env ...string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	args := append([]string{"-c", `ip link set lo up && exec "$@"`, "sh"}, append(shell, script)...)
	cmd := exec.CommandContext(ctx, "sh", args...)
	cmd.Dir = w.dir
	cmd.Env = append(os.Environ(), append(env, "PATH="+w.bin+":"+os.Getenv("PATH"))...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// results checks what a job leaves in faultctl-results: a JUnit report with so many
// failures, and the other files.
func (w workshop) results(t *testing.T, failures int, files ...string) {
	t.Helper()
	var suites struct {
		Failures int `xml:"failures,attr"`
		Suites   []struct {
			Failures int        `xml:"failures,attr"`
			Cases    []struct{} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	text, err := os.ReadFile(filepath.Join(w.dir, "faultctl-results/junit.xml"))
	if err == nil {
		err = xml.Unmarshal(text, &suites)
	}
	if err != nil || len(suites.Suites) != 1 || len(suites.Suites[0].Cases) == 0 || suites.Suites[0].Failures != failures {
		t.Errorf("junit.xml: %v, want %d failures\n%s", err, failures, text)
	}
	for _, f := range files {
		if st, err := os.Stat(filepath.Join(w.dir, "faultctl-results", f)); err != nil || st.Size() == 0 {
			t.Errorf("%s: %v, %v", f, st, err)
		}
	}
}

var expression = regexp.MustCompile(`\$\{\{ *([a-z.-]+) *\}\}`)

// TestGitHubAction runs the steps of action.yml with the environment that GitHub gives
// them, on a command that survives and on one that fails.
func TestGitHubAction(t *testing.T) {
	t.Parallel()
	var a action
	strictly(t, "../action.yml", &a)
	if a.Runs.Using != "composite" || len(a.Runs.Steps) != 3 || !strings.HasPrefix(a.Runs.Steps[2].Uses, "actions/upload-artifact@") || !a.Inputs["run"].Required {
		t.Fatalf("%+v", a)
	}
	for _, tc := range []struct {
		run      string
		code     int
		failures int
		says     string
	}{
		{"orders -retry -idempotent", 0, 0, "survived"},
		{"orders", 3, 1, "FAILED"},
	} {
		w := newWorkshop(t)
		summary := filepath.Join(w.dir, "summary")
		known := map[string]string{"inputs.run": tc.run, "inputs.faults": "reset:at=response", "inputs.flags": "--timeout '20s' --seed 1"}
		for name, in := range a.Inputs {
			if _, is := known["inputs."+name]; !is {
				known["inputs."+name] = in.Default
			}
		}
		code := 0
		for _, s := range a.Runs.Steps[:2] {
			output := filepath.Join(w.dir, "output-"+s.ID)
			env := []string{"GITHUB_ACTIONS=true", "GITHUB_ACTION_PATH=" + repository(t), "GITHUB_WORKSPACE=" + w.dir, "GITHUB_OUTPUT=" + output, "GITHUB_STEP_SUMMARY=" + summary, "RUNNER_TEMP=" + w.bin}
			for name, value := range s.Env {
				env = append(env, name+"="+expression.ReplaceAllStringFunc(value, func(e string) string {
					v, is := known[expression.FindStringSubmatch(e)[1]]
					if !is {
						t.Errorf("step %s: there is no %s", s.ID, e)
					}
					return v
				}))
			}
			if s.Shell != "bash" || strings.Contains(s.Run, "${{") { // an input in a script would be code
				t.Errorf("step %s: %+v", s.ID, s)
			}
			// As GitHub runs shell: bash.
			var out string
			if code, out = w.run(t, []string{"bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c"}, s.Run, env...); s.ID == "verify" && !strings.Contains(out, tc.says) {
				t.Errorf("%s: it does not say %q:\n%s", tc.run, tc.says, out)
			}
			said, _ := os.ReadFile(output)
			for line := range strings.Lines(string(said)) {
				name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
				known["steps."+s.ID+".outputs."+name] = value
			}
		}
		if code != tc.code {
			t.Errorf("%s: exit %d, want %d", tc.run, code, tc.code)
		}
		for name, o := range a.Outputs {
			if value := known[expression.FindStringSubmatch(o.Value)[1]]; value == "" || name == "exit-code" && value != fmt.Sprint(tc.code) {
				t.Errorf("%s: output %s is %q", tc.run, name, value)
			}
		}
		if text, err := os.ReadFile(summary); err != nil || !strings.HasPrefix(string(text), "## faultctl: ") || !strings.Contains(string(text), "reset:at=response") {
			t.Errorf("the summary of the job: %v\n%s", err, text)
		}
		w.results(t, tc.failures, "report.html", "report.json", "summary.md", "capture.pcapng")
	}
}

// TestGitLabTemplate runs the script of packaging/ci/gitlab.yml as a runner does.
func TestGitLabTemplate(t *testing.T) {
	t.Parallel()
	var y template
	strictly(t, "../packaging/ci/gitlab.yml", &y)
	if y.Job.Artifacts.When != "always" || y.Job.Artifacts.Reports.Junit != "faultctl-results/junit.xml" || len(y.Job.Artifacts.Paths) != 1 {
		t.Errorf("%+v", y.Job)
	}
	for run, want := range map[string]int{"orders -retry -idempotent": 0, "orders": 3} {
		w := newWorkshop(t)
		env := []string{"CI=true", "GITLAB_CI=true", "CI_PROJECT_DIR=" + w.dir, "FAULTCTL_FAULTS=reset:at=response"}
		for name, value := range y.Job.Variables {
			env = append(env, name+"="+map[string]string{"VERIFY_COMMAND": run, "VERIFY_FLAGS": "--timeout 20s --seed 1"}[name]+value)
		}
		code, out := w.run(t, []string{"sh", "-e", "-c"}, strings.Join(y.Job.Script, "\n"), env...)
		if code != want {
			t.Errorf("%s: exit %d, want %d\n%s", run, code, want, out)
		}
		w.results(t, map[int]int{3: 1}[want], "report.html", "summary.md", "capture.pcapng")
	}
}
