package integration

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/internal/netns"
)

// module is the path of this module, and the folder that it is in.
const module = "github.com/faultctl/faultctl"

// outside builds a program in a module of its own that requires this one, without
// any network, and returns it.
func outside(t *testing.T, main string) (bin string) {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	read := func(name string) []byte {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	goLine := regexp.MustCompile(`(?m)^go .*$`).Find(read("go.mod"))
	dir := t.TempDir()
	for name, text := range map[string][]byte{
		"main.go": read(main),
		"go.sum":  read("go.sum"),
		"go.mod":  []byte("module outside.test\n\n" + string(goLine) + "\n\nrequire " + module + " v0.0.0\n\nreplace " + module + " => " + root + "\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	bin = filepath.Join(dir, "program")
	cmd := exec.Command("go", "build", "-o", bin, ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOSUMDB=off", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return bin
}

// TestTwoRunsOutside holds that a program of another module can start two runs in
// one process, change the share of one and pause the other, read what happened as
// typed events, and stop both: that of examples/tworuns.
func TestTwoRunsOutside(t *testing.T) {
	bin := outside(t, "examples/tworuns/main.go")
	ownNetns(t) // the program starts in the namespace of this thread
	cmd := exec.Command(bin, echoes(t))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, &out, &errs)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	const answers = 3 // lines
	if len(lines) <= answers || strings.Join(lines[:answers], "\n") != "both: read: connection reset by peer\ndelay alone: hello\nneither: hello" {
		t.Fatalf("the program printed\n%s", &out)
	}
	// Each run tells what happened in its order. The delay strikes the first two
	// connections and is paused before the third; the reset strikes the first one,
	// and has a share of 0 then.
	events := strings.Join(lines[answers:], "\n") + "\n"
	if !regexp.MustCompile(`^(delay fired: .*\n)+paused\ndelay fired on 2 of 2 connections\n` +
		`(reset fired: .*\n)+changed: \[percent=0\]\nreset fired on 1 of 3 connections\n$`).MatchString(events) {
		t.Errorf("the program's runs tell\n%s", events)
	}
	ns, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if left := tablesIn(t, ns); len(left) > 0 {
		t.Errorf("the program has left %v", left)
	}
}
