package cage

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// run starts a command in a cage and returns what it prints and how it ends.
func run(t *testing.T, c Cage, args ...string) (out string, status syscall.WaitStatus) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = w, w
	p, err := c.Start(cmd)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	b.ReadFrom(r)
	if status, err = p.Wait(); err != nil {
		t.Error(err)
	}
	return b.String(), status
}

func startLauncher(t *testing.T) *Launcher {
	t.Helper()
	l, err := NewLauncher()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// TestLauncher checks that a command that the launcher starts has its arguments,
// environment, files and directory, that its status and the errors of its start come
// back, and that signals reach it.
func TestLauncher(t *testing.T) {
	c, err := startLauncher(t).NewLoose()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	t.Setenv("STRANGE", "a\xffb")
	dir := t.TempDir()
	t.Chdir(dir)
	out, status := run(t, c, "sh", "-c", `pwd; printf '%s|%s' "$STRANGE" "$1"; exit 7`, "sh", "\xfe\n")
	if want := dir + "\na\xffb|\xfe\n"; out != want || status.ExitStatus() != 7 {
		t.Errorf("printed %q, want %q; %v", out, want, status)
	}
	none := filepath.Join(dir, "none")
	if _, err := c.Start(&exec.Cmd{Path: none, Args: []string{none}}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such program: %v", err)
	}
	if err := os.WriteFile(none, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Start(&exec.Cmd{Path: none, Args: []string{none}}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("no program: %v", err)
	}
	p, err := c.Start(exec.Command("sleep", "60"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if status, err := p.Wait(); err != nil || status.Signal() != syscall.SIGTERM {
		t.Errorf("%v, %v", status, err)
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("a signal for a process that has ended: %v", err)
	}
}

// TestLauncherCgroup checks that a cage of the launcher holds what its command starts,
// and that all of it ends with the launcher, however that ends.
func TestLauncherCgroup(t *testing.T) {
	cgroups(t)
	for _, killed := range []bool{false, true} {
		l := startLauncher(t)
		c, err := l.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		group := c.Owner().Cgroup
		if out, _ := run(t, c, "cat", "/proc/self/cgroup"); !strings.Contains(out, filepath.Base(group.Path)) {
			t.Errorf("the command is in %q, not in %s", out, group.Path)
		}
		p, err := c.Start(exec.Command("sleep", "60"))
		if err != nil {
			t.Fatal(err)
		}
		if killed {
			l.cmd.Process.Kill()
			if _, err := p.Wait(); err == nil {
				t.Error("nobody says that the launcher is gone")
			}
		} else {
			if err := c.Empty(); err != nil {
				t.Error(err)
			}
			if status, err := p.Wait(); err != nil || status.Signal() != syscall.SIGKILL {
				t.Errorf("%v, %v", status, err)
			}
		}
		if err := c.Close(); (err != nil) != killed {
			t.Error(err)
		}
		l.Close()
		eventually(t, "the cgroup is gone", func() bool { _, err := os.Stat(group.Dir); return os.IsNotExist(err) })
	}
}

// TestGuardianRights checks that a guardian has given up what it does not need.
func TestGuardianRights(t *testing.T) {
	cgroups(t)
	c, err := NewCgroup(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	status := filepath.Join("/proc", fmt.Sprint(c.(*cgroupCage).guard.cmd.Process.Pid), "status")
	eventually(t, "the guardian has no other capabilities", func() bool {
		b, _ := os.ReadFile(status)
		return bytes.Contains(b, []byte("NoNewPrivs:\t1")) && bytes.Contains(b, []byte("Seccomp:\t2")) &&
			bytes.Contains(b, []byte("CapEff:\t"+fmt.Sprintf("%016x", 1<<unix.CAP_KILL|1<<unix.CAP_DAC_OVERRIDE)))
	})
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}
