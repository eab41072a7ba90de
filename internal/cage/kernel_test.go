package cage

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/faultctl/faultctl/injector/target"
	"golang.org/x/sys/unix"
)

// TestMain lets the test binary be the guardian of its own cages.
func TestMain(m *testing.M) {
	if Guard(os.Args) || Launch(os.Args) {
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// cgroups skips a test if this process cannot create cgroups. With
// FAULTCTL_REQUIRE=1, root must be able to.
func cgroups(t *testing.T) (own string) {
	t.Helper()
	own, err := target.OwnCgroup()
	if err == nil {
		err = unix.Access(own, unix.W_OK)
	}
	switch {
	case err == nil:
	case os.Geteuid() == 0 && os.Getenv("FAULTCTL_REQUIRE") == "1":
		t.Fatalf("cgroup v2 is needed: %v", err)
	default:
		t.Skipf("no cgroup v2 that this user may write: %v", err)
	}
	return own
}

// TestCgroup checks that a cage contains everything that its command starts,
// kills all of it, and is then removed, with the cgroups that the command created
// in it.
func TestCgroup(t *testing.T) {
	cgroups(t)
	foreseen := Foreseen().Cgroup
	c, err := NewCgroup(nil)
	if err != nil {
		t.Fatal(err)
	}
	group := c.Owner().Cgroup
	if foreseen.Path != group.Path || foreseen.Level != group.Level {
		t.Errorf("foreseen %+v, made %+v", foreseen, group)
	}
	cmd := exec.Command("sh", "-c", `mkdir "$0/inner"; sleep 60 & sh -c 'echo $$ > "$0/inner/cgroup.procs"; exec sleep 60' "$0" & until grep -q . "$0/inner/cgroup.procs"; do sleep 0.01; done`, group.Dir)
	p, err := c.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	if status, err := p.Wait(); err != nil || status != 0 {
		t.Error(status, err)
	}
	procs, _ := os.ReadFile(filepath.Join(group.Dir, "cgroup.procs"))
	inner, _ := os.ReadFile(filepath.Join(group.Dir, "inner", "cgroup.procs"))
	if len(procs) == 0 || len(inner) == 0 {
		t.Errorf("the cage has %q, and %q further in", procs, inner)
	}
	if err := c.Empty(); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(group.Dir); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", group.Dir, err)
	}
}

// TestCleanup checks that what a dead instance left is removed, with its
// processes, and nothing else.
func TestCleanup(t *testing.T) {
	own := cgroups(t)
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(own, fmt.Sprintf("%s%d-1", prefix, dead.Process.Pid))
	alive := filepath.Join(own, fmt.Sprintf("%s%d-999", prefix, os.Getpid()))
	for _, dir := range []string{left, alive} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	defer os.Remove(alive)
	f, err := os.Open(left)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command("sleep", "60")
	p, err := (&cgroupCage{dir: f}).Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	go p.Wait()
	removed, err := Cleanup()
	if err != nil || !slices.Contains(removed, left) || slices.Contains(removed, alive) {
		t.Errorf("removed %q, %v", removed, err)
	}
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", left, err)
	}
	if _, err := os.Stat(alive); err != nil {
		t.Errorf("the cgroup of an instance that lives is gone: %v", err)
	}
}
