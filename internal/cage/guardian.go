package cage

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/sandbox"
	"golang.org/x/sys/unix"
)

// The commands that make this program a guardian: of a cgroup, faultctl guard-cgroup
// PATH, or of processes with a mark in their environment, faultctl guard-marked MARK.
const (
	guardCgroupCommand = "guard-cgroup"
	guardMarkedCommand = "guard-marked"
)

// Guard is the main function of this package's own processes. It returns false at once
// if args do not ask for one. A guardian waits for the end of its standard input, a
// pipe that ends with faultctl, even after SIGKILL. It then kills the processes in the
// cage, and removes it.
func Guard(args []string) bool {
	switch {
	case len(args) > 5 && args[1] == heldCommand:
		held(args) // it does not return
	case len(args) != 3 || args[1] != guardCgroupCommand && args[1] != guardMarkedCommand:
		return false
	}
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	// It needs no more than that, however hostile the command. What this kernel cannot
	// take away it keeps.
	need := sandbox.Need{
		What: "guards a cgroup", Why: "CAP_KILL kills processes one by one before Linux 5.14, CAP_DAC_OVERRIDE removes a cgroup from the root of the hierarchy",
		Caps: []uintptr{unix.CAP_KILL, unix.CAP_DAC_OVERRIDE}, Read: []string{"/proc"}, Write: []string{filepath.Dir(args[2])},
	}
	if args[1] == guardMarkedCommand {
		need = sandbox.Need{
			What: "guards marked processes", Why: "CAP_SYS_PTRACE and CAP_DAC_OVERRIDE read the environment of each process, which Landlock forbids",
			Caps: []uintptr{unix.CAP_KILL, unix.CAP_DAC_OVERRIDE, unix.CAP_SYS_PTRACE}, Files: true,
		}
	}
	_ = sandbox.Enter(need)
	io.Copy(io.Discard, os.Stdin)
	if what := args[2]; args[1] == guardCgroupCommand {
		kill(what)
		remove(what)
	} else {
		killAll(func() []int {
			up := parents()
			return withDescendants(marked(what, up), up)
		})
	}
	return true
}

// guardian is the process that outlives this one until the cage is empty.
type guardian struct {
	cmd      *exec.Cmd
	lifeline *os.File // ends with this process
}

// guardCgroup starts a guardian for a cgroup that does not exist yet.
func guardCgroup(path string) (*guardian, error) {
	mount := target.DetachedCgroups()
	if mount == nil {
		return startGuardian(guardCgroupCommand, path)
	}
	dir := fmt.Sprintf("/proc/self/fd/%d", mount.Fd())
	return startGuardian(guardCgroupCommand, "/proc/self/fd/3"+strings.TrimPrefix(path, dir), mount)
}

// guardMarked starts a guardian for processes with that mark in their environment.
func guardMarked(mark string) (*guardian, error) { return startGuardian(guardMarkedCommand, mark) }

func startGuardian(command, what string, files ...*os.File) (*guardian, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("create a pipe to the guardian: %w", err)
	}
	defer r.Close()
	g := &guardian{lifeline: w, cmd: exec.Command("/proc/self/exe", command, what)}
	g.cmd.Args[0] = "faultctl"
	g.cmd.Stdin = r
	g.cmd.Dir = "/"
	g.cmd.ExtraFiles = files
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // so that a terminal's Ctrl-C does not reach it
	if err := startChild(g.cmd, g.cmd.Start); err != nil {
		w.Close()
		return nil, fmt.Errorf("start the guardian of the command: %w", err)
	}
	return g, nil
}

// stop ends the guardian, which empties the cage if it still exists.
func (g *guardian) stop() error {
	g.lifeline.Close()
	defer forgetChild(g.cmd)
	var exit *exec.ExitError
	if err := g.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return fmt.Errorf("end the guardian of the command: %w", err)
	}
	return nil
}
