package integration

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// language is a network namespace with loopback, in which a client of faultctl serve is
// tested. Its commands start faultctl themselves.
type language struct {
	t   *testing.T
	dir string // the working directory of its commands
	env []string
}

// TestLanguages holds that the clients for other languages work, with a faultctl that
// they start, and the examples of their READMEs as they are.
func TestLanguages(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "faultctl")
	if out, err := exec.Command("go", "build", "-o", bin, "..").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, test := range map[string]func(*testing.T, string){"Python": testPython, "Node": testNode, "Go": testGo, "Java": testJava} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, bin)
		})
	}
}

// newLanguage makes one. Its programs must be installed.
func newLanguage(t *testing.T, bin string, programs ...string) *language {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			lacks(t, p+" is not installed")
		}
	}
	return &language{t, ".", append(os.Environ(), "FAULTCTL_BIN="+bin, "PATH="+filepath.Dir(bin)+":"+os.Getenv("PATH"))}
}

// run runs a script of sh in a network namespace of its own, in which the service of the
// READMEs listens on port 8000, and returns what it prints.
func (l *language) run(script string, env ...string) string {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-ec", "ip link set lo up\n"+script)
	cmd.Dir, cmd.Env = l.dir, append(l.env, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		l.t.Errorf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// block is the n-th block of code in that language of a README, counted from 0.
func block(t *testing.T, readme, lang string, n int) string {
	t.Helper()
	page, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```"+lang+"\n(.*?)^```$").FindAllStringSubmatch(string(page), -1)
	if n >= len(blocks) {
		t.Fatalf("%s has %d blocks of %s", readme, len(blocks), lang)
	}
	return blocks[n][1]
}

// service is the line of a README that starts the service which its example asks, and
// waits until it answers.
func service(t *testing.T, readme string) string {
	return strings.TrimSpace(block(t, readme, "sh", 1)) + "\nuntil curl -sf http://localhost:8000/ >/dev/null; do sleep 0.05; done\n"
}

// write writes a file into a new directory of the language, where its commands run.
func (l *language) write(name, text string) {
	l.t.Helper()
	if l.dir == "." {
		l.dir = l.t.TempDir()
	}
	if err := os.WriteFile(filepath.Join(l.dir, name), []byte(text), 0o644); err != nil {
		l.t.Fatal(err)
	}
}

// repository is the directory of this module.
func repository(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// testPython tests the client for Python, and the example of its README.
func testPython(t *testing.T, bin string) {
	l := newLanguage(t, bin, "pytest-3", "curl")
	const readme, options = "../clients/python/README.md", "pytest-3 -q -p no:cacheprovider -p faultctl.pytest_plugin "
	at := []string{"PYTHONPATH=" + filepath.Join(repository(t), "clients/python"), "PYTHONDONTWRITEBYTECODE=1"}
	l.run(options+"../clients/python/tests", at...)
	l.write("test_readme.py", block(t, readme, "python", 0))
	if out := l.run("export PATH=/usr/bin:$PATH\n"+service(t, readme)+options+"test_readme.py; kill $!", at...); !strings.Contains(out, "2 passed") {
		t.Errorf("the example of the README:\n%s", out)
	}
}

// testNode tests the client for Node, and the examples of its README:
// the last one where Node knows await using.
func testNode(t *testing.T, bin string) {
	l := newLanguage(t, bin, "node", "curl")
	const readme = "../clients/node/README.md"
	l.run("node --test ../clients/node/test/")
	example, tests := block(t, readme, "js", 0), "1"
	if version, _ := exec.Command("node", "-p", "process.versions.node.split('.')[0]").Output(); len(version) > 1 && string(version) >= "24" {
		example, tests = example+block(t, readme, "js", 1), "2"
	}
	l.write("reset.test.mjs", example)
	modules := filepath.Join(l.dir, "node_modules")
	if err := os.Mkdir(modules, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(repository(t), "clients/node"), filepath.Join(modules, "faultctl")); err != nil { // as npm install does
		t.Fatal(err)
	}
	if out := l.run(service(t, readme) + "node --test reset.test.mjs; kill $!"); !strings.Contains(out, "# pass "+tests+"\n") {
		t.Errorf("the example of the README:\n%s", out)
	}
}

// testGo tests the client for Go, and the example of its README in a
// module of its own.
func testGo(t *testing.T, bin string) {
	l := newLanguage(t, bin, "go")
	l.run("go test -count=1 ../clients/go")
	l.write("reset_test.go", block(t, "../clients/go/README.md", "go", 0))
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		if name == "go.mod" {
			text = []byte(strings.Replace(string(text), "module github.com/faultctl/faultctl\n", "module orders\n", 1) +
				"\nrequire github.com/faultctl/faultctl v0.0.0\nreplace github.com/faultctl/faultctl => " + repository(t) + "\n")
		}
		l.write(name, string(text))
	}
	if out := l.run("go test -count=1 -v .", "GOFLAGS=-mod=mod -buildvcs=false"); !strings.Contains(out, "--- PASS: TestReset") {
		t.Errorf("the example of the README:\n%s", out)
	}
}

// testJava tests the example for Java.
func testJava(t *testing.T, bin string) {
	l := newLanguage(t, bin, "javac", "java")
	out := l.run("javac -d $CLASSES ../clients/java/*.java; java -cp $CLASSES Example", "CLASSES="+t.TempDir())
	for _, says := range []string{"under the fault: Connection reset", "behind it: 404", "a test would fail: reset never fired", "about fault: 422"} {
		if !strings.Contains(out, says) {
			t.Errorf("it does not say %q:\n%s", says, out)
		}
	}
}
