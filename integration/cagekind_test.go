package integration

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/lab"
	"golang.org/x/sys/unix"
)

// nobody is an unprivileged user.
const nobody = 65534

// cageKind is a way to keep a command's processes together.
type cageKind struct {
	name  string
	flags []string
	uid   uint32 // the user that runs faultctl

	confined string // how it is confined, see confine
	cgroup   bool   // it tells the command's connections by a cgroup
}

// shared reports whether the command's connections are not told from those of others
// in the network namespace.
func (m cageKind) shared() bool { return m.confined == twoCapabilities }

// cageKinds returns those that are possible here. Root of the host has all of
// them.
func cageKinds(t *testing.T) []cageKind {
	t.Helper()
	all := []cageKind{{name: "isolated", flags: []string{"--isolate"}}}
	if os.Getenv("FAULTCTL_INSIDE") != "" {
		return all // a user namespace has no writable cgroup and no other user
	}
	if _, err := cgroupOfOurs(); err != nil {
		if os.Getenv("FAULTCTL_REQUIRE") == "1" {
			t.Fatalf("cgroup v2 is needed: %v", err)
		}
		t.Logf("without a cgroup: %v", err)
	} else {
		all = append(all, cageKind{name: "cgroup", cgroup: true},
			cageKind{name: "clone3 refused", confined: clone3Refused, cgroup: true},
			cageKind{name: "cgroup v2 not mounted", confined: cgroupHidden, cgroup: true},
			cageKind{name: "two capabilities", confined: twoCapabilities})
	}
	return append(all, cageKind{name: "without root", uid: nobody})
}

// cgroupOfOurs is the cgroup in which faultctl creates its own.
func cgroupOfOurs() (string, error) {
	own, err := target.OwnCgroup()
	if err == nil && unix.Access(own, unix.W_OK) != nil {
		err = errors.New("it cannot be written")
	}
	return own, err
}

// faultctl returns a faultctl that uses this kind of cage, in the host's
// namespace when started by Do.
func (m cageKind) faultctl(verb string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", slices.Concat([]string{verb}, m.flags, args)...)
	cmd.Args[0] = "faultctl"
	cmd.Env = roleEnv("faultctl", "GORACE=atexit_sleep_ms=0")
	if m.confined != "" {
		cmd.Env = roleEnv(m.confined, "GORACE=atexit_sleep_ms=0")
	}
	cmd.WaitDelay = patience
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // detached from the terminal of the tests
	if m.uid != 0 {
		cmd.Dir = "/"
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: m.uid, Gid: m.uid, NoSetGroups: true}
	}
	return cmd
}

// run runs it to its end in a host's namespace, and returns its exit code and
// output. No process whose command line contains mark may be left then.
func (m cageKind) run(t *testing.T, n *lab.Node, mark, verb string, args ...string) (code int, output string) {
	t.Helper()
	cmd := m.faultctl(verb, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := n.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	defer expose(cmd).Stop()
	cmd.Wait()
	m.nothingLeft(t, n, cmd.Process.Pid, mark)
	return cmd.ProcessState.ExitCode(), out.String()
}

// nothingLeft waits until no table, cgroup or process of the faultctl with that
// process id is left (0: no table of any faultctl), and no process whose command
// line contains mark.
func (m cageKind) nothingLeft(t *testing.T, n *lab.Node, pid int, mark string) {
	t.Helper()
	own, _ := target.OwnCgroup()
	var left []string
	if !lab.Eventually(func() bool {
		left = nil
		for _, table := range tables(t, n) {
			if pid == 0 || strings.HasPrefix(table+"_", fmt.Sprintf("faultctl_%d_", pid)) {
				left = append(left, table)
			}
		}
		groups, _ := filepath.Glob(filepath.Join(own, fmt.Sprintf("faultctl-%d-*", pid)))
		left = append(left, groups...)
		for p, line := range processes() {
			if p == pid || strings.Contains(line, fmt.Sprintf("faultctl-%d-", pid)) || mark != "" && strings.Contains(line, mark) {
				left = append(left, fmt.Sprintf("process %d: %s", p, line))
			}
		}
		return len(left) == 0
	}) {
		t.Errorf("left behind: %q", left)
	}
}

// marks counts the marks that were made.
var marks atomic.Uint32

// mark returns a number of seconds that no other process sleeps for: none of this
// test, of another run of it, or left behind by such a run.
func mark() string { return fmt.Sprintf("2718.%08d%04d", os.Getpid(), marks.Add(1)) }

// processes lists the processes that are not zombies, with their command lines.
func processes() map[int]string {
	found := map[int]string{}
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range lines {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if line, err := os.ReadFile(file); err == nil && len(line) > 0 {
			found[pid] = strings.ReplaceAll(string(line), "\x00", " ")
		}
	}
	return found
}

// family lists the process and its descendants, oldest first.
func family(pid int) []int {
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", all[i]))
		for _, file := range tasks {
			b, _ := os.ReadFile(file)
			for _, child := range strings.Fields(string(b)) {
				if n, err := strconv.Atoi(child); err == nil {
					all = append(all, n)
				}
			}
		}
	}
	return all
}

// program copies the test binary to where every user may execute it.
func program(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "faultctl-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	// Without the lock, a process that another test forks meanwhile would hold the
	// file open for writing until its exec, and executing the file would fail.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	path := filepath.Join(dir, "program")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err == nil {
		_, err = io.Copy(f, self)
		err = errors.Join(err, f.Close(), os.Chmod(dir, 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}
