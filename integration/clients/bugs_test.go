package clients

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/faultctl/faultctl/lab"
	"github.com/faultctl/faultctl/lab/userns"
)

// A bug is a public report, the command that brings it about, and what the client says.
type bug struct {
	name    string               // of its subtest, and its heading on the page
	reports []string             // owner/name#number
	what    string               // what was reported, in one sentence
	house   string               // the servers that it needs, see houses
	needs   []string             // programs, or Python's modules (python3:NAME), or those of Node (node:NAME)
	fault   string               // the arguments of faultctl run, HOST stands for the server's address
	limit   string               // --timeout where the client is expected to wait for ever
	client  string               // the command that is run
	remedy  string               // the documented remedy: what is added to the command
	host    func(*lab.Lab) error // a remedy that is a setting of a host, instead of the client
	setting string               // that setting, in words

	without, with said
}

// said is what a client says, and the verdict of faultctl.
type said struct {
	text    string // alternatives are separated by a bar
	verdict string
}

// faultctl builds the program as users have it.
var faultctl = sync.OnceValues(func() (string, error) { return build("faultctl", "../..") })

// TestBugs plays each bug without and with its remedy. With FAULTCTL_BUGS=N it
// plays each N times, see make bugs.
func TestBugs(t *testing.T) {
	if userns.Inside() {
		t.Skip("clients on one host are told apart by their cgroups, which a user namespace does not have")
	}
	makeBase(t)
	var played atomic.Int64
	plays := 0
	t.Run("bug", func(t *testing.T) {
		for _, b := range bugs {
			for _, remedied := range []bool{false, true} {
				if remedied && !b.remedied() {
					continue
				}
				plays++
				name := b.name
				if remedied {
					name += " with its remedy"
				}
				t.Run(strings.NewReplacer(" ", "-", ",", "").Replace(name), func(t *testing.T) {
					t.Parallel()
					b.require(t)
					b.play(t, remedied)
					played.Add(1)
				})
			}
		}
	})
	closeHouses()
	if *update {
		writeBugs(t, int(played.Load()), plays)
	}
}

// remedied reports whether there is a remedy to be played.
func (b *bug) remedied() bool { return b.remedy != "" || b.host != nil }

// arguments are those of faultctl.
func (b *bug) arguments(remedied bool) []string {
	args := append([]string{"run"}, strings.Fields(b.fault)...)
	command := b.client
	if remedied && b.remedy != "" {
		command += " " + b.remedy
	}
	if !remedied && b.limit != "" {
		args = append(args, "--timeout", b.limit)
	}
	return append(append(args, "--"), strings.Fields(command)...)
}

// play runs the client under the fault and checks what it says. On a machine that is
// too busy it may say something else, but not three times.
func (b *bug) play(t *testing.T, remedied bool) {
	want := b.without
	if remedied {
		want = b.with
	}
	times := 1
	fmt.Sscan(os.Getenv("FAULTCTL_BUGS"), &times)
	for range times {
		for n := 1; ; n++ {
			got, whole := b.attempt(t, remedied)
			if got.verdict == want.verdict && slices.Contains(strings.Split(want.text, "|"), got.text) {
				break
			}
			wrong := fmt.Sprintf("the client says\n\t%s\nand faultctl says %s; want\n\t%s\nand %s\n%s", got.text, got.verdict, want.text, want.verdict, whole)
			if n == 3 || want.verdict == "" {
				t.Error(wrong)
				return
			}
			t.Logf("trying again: %s", wrong)
		}
	}
}

// attempt runs the client once.
func (b *bug) attempt(t *testing.T, remedied bool) (got said, whole string) {
	h := b.enter(t, remedied)
	dir, err := os.MkdirTemp(base, "")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	report := filepath.Join(dir, "report.json")
	args := b.arguments(remedied)
	for i, a := range args {
		args[i] = strings.ReplaceAll(a, "HOST", h.lab.Server.V4.String())
	}
	args = append([]string{args[0], args[1], "--report", report, "-o", "json"}, args[2:]...)
	bin, err := faultctl()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, args...)
	cmd.Dir = filepath.Join(testdata, "bugs")
	cmd.Env = []string{
		"PATH=" + filepath.Join(base, "bin") + ":/usr/bin:/bin:" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir, "LC_ALL=C",
		"NODE_PATH=" + nodeModules(), "PYTHONDONTWRITEBYTECODE=1", "CLASSPATH=" + classPath(),
	}
	var events, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &events, &errs
	p, err := start(h.lab.Client, cmd)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if !p.within(2 * time.Minute) {
		return said{text: "faultctl does not end"}, errs.String()
	}
	whole = events.String() + errs.String()
	got.text = b.report(errs.String())
	got.verdict, err = verdictOf(report)
	if err != nil {
		whole = err.Error() + "\n" + whole
	}
	t.Logf("%s, %.1fs: %s: %s", t.Name(), time.Since(begin).Seconds(), got.verdict, got.text)
	return got, whole
}

// verdictOf reads the verdict of a report.
func verdictOf(file string) (string, error) {
	text, err := os.ReadFile(file)
	var doc struct {
		Cases []struct{ Verdict string }
	}
	if err == nil {
		err = json.Unmarshal(text, &doc)
	}
	if err == nil && len(doc.Cases) != 1 {
		err = fmt.Errorf("the report has %d cases", len(doc.Cases))
	}
	if err != nil {
		return "", err
	}
	return doc.Cases[0].Verdict, nil
}

// report is what the client printed, in one line.
func (b *bug) report(out string) string {
	var lines []string
	for l := range strings.Lines(out) {
		l = strings.Join(strings.Fields(l), " ")
		if l == "" || strings.HasPrefix(l, "faultctl: ") {
			continue
		}
		for _, v := range varying {
			l = v.re.ReplaceAllString(l, v.by)
		}
		lines = append(lines, l)
	}
	return strings.Join(lines, "; ")
}

// missing says what the bug needs and is not there.
func (b *bug) missing() (names []string) {
	for _, need := range append(slices.Clone(houses[b.house].needs), b.needs...) {
		kind, name, is := strings.Cut(need, ":")
		switch {
		case !is && need == "goclients":
			if _, err := goClients(); err != nil {
				names = append(names, fmt.Sprintf("the Go clients (%v)", err))
			}
		case !is && need == "postgres":
			if _, err := postgresUser(); err != nil {
				names = append(names, fmt.Sprintf("postgres (%v)", err))
			} else if _, err := exec.LookPath(postgresProgram(need)); err != nil {
				names = append(names, need)
			}
		case !is:
			if _, err := exec.LookPath(need); err != nil {
				names = append(names, need)
			}
		case kind == "python3":
			if exec.Command("/usr/bin/python3", "-c", "import importlib.util as u, sys; sys.exit(u.find_spec('"+name+"') is None)").Run() != nil {
				names = append(names, "Python's "+name)
			}
		case kind == "node":
			if _, err := os.Stat(filepath.Join(nodeModules(), name)); err != nil {
				names = append(names, "Node's "+name)
			}
		case kind == "jar":
			if _, err := os.Stat("/usr/share/java/" + name + ".jar"); err != nil {
				names = append(names, name+".jar")
			}
		}
	}
	return names
}

// require fails or skips a test that lacks something.
func (b *bug) require(t *testing.T) {
	t.Helper()
	missing := b.missing()
	switch {
	case len(missing) == 0:
	case os.Getenv("FAULTCTL_REQUIRE") == "1":
		t.Fatalf("missing: %s: make deps installs it", strings.Join(missing, ", "))
	default:
		t.Skipf("missing: %s: make deps installs it", strings.Join(missing, ", "))
	}
}

// testdata is the directory as an absolute path: clients run in another one.
var testdata, _ = filepath.Abs("testdata")

// goClients builds the clients that are written in Go, a module of their own.
var goClients = sync.OnceValues(func() (string, error) { return build("goclients", "testdata/goclients") })

// build builds a program from that directory, and returns its path.
func build(name, from string) (string, error) {
	dir := filepath.Join(base, "bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", path, ".")
	cmd.Dir = from
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
	}
	return path, nil
}

// nodeModules installs the clients of npm, as the lock file names them, where they
// are found again.
var nodeModules = sync.OnceValue(func() string {
	lock, err := os.ReadFile("testdata/bugs/npm/package-lock.json")
	cache, err2 := os.UserCacheDir()
	if err != nil || err2 != nil {
		return ""
	}
	dir := filepath.Join(cache, fmt.Sprintf("faultctl-clients-%x", sha256.Sum256(lock)))
	modules := filepath.Join(dir, "node_modules")
	if _, err := os.Stat(filepath.Join(dir, "whole")); err == nil {
		return modules
	}
	os.RemoveAll(dir)
	if err := os.CopyFS(dir, os.DirFS("testdata/bugs/npm")); err != nil {
		return ""
	}
	cmd := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "npm ci: %v\n%s", err, out)
		return ""
	}
	os.WriteFile(filepath.Join(dir, "whole"), nil, 0o644)
	return modules
})

// classPath has the compiled clients of testdata and Debian's libraries.
var classPath = sync.OnceValue(func() string {
	jars := []string{}
	for _, jar := range []string{"HikariCP", "postgresql", "slf4j-api", "slf4j-nop", "okhttp", "okio"} {
		jars = append(jars, "/usr/share/java/"+jar+".jar")
	}
	path := strings.Join(jars, ":")
	dir := filepath.Join(base, "bugclasses")
	sources, _ := filepath.Glob("testdata/bugs/*.java")
	if len(sources) == 0 {
		return path
	}
	if out, err := exec.Command("javac", append([]string{"-cp", path, "-d", dir}, sources...)...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "javac: %v\n%s", err, out)
	}
	return dir + ":" + path
})
