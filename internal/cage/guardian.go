package cage

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// guardCommand makes this program a guardian: faultctl guard-cgroup PATH.
const guardCommand = "guard-cgroup"

// Guard is the main function of a guardian. It returns false at once if args do
// not ask for one. A guardian waits for the end of its standard input, a pipe
// that ends with faultctl, even after SIGKILL. It then kills the processes in the
// cgroup and removes it.
func Guard(args []string) bool {
	if len(args) != 3 || args[1] != guardCommand {
		return false
	}
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	io.Copy(io.Discard, os.Stdin)
	kill(args[2])
	remove(args[2])
	return true
}

// guardian is the process that outlives this one until the cgroup is removed.
type guardian struct {
	cmd      *exec.Cmd
	lifeline *os.File // ends with this process
}

// startGuardian starts a guardian for a cgroup that does not exist yet.
func startGuardian(path string) (*guardian, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("create a pipe to the guardian: %w", err)
	}
	defer r.Close()
	g := &guardian{lifeline: w, cmd: exec.Command("/proc/self/exe", guardCommand, path)}
	g.cmd.Args[0] = "faultctl"
	g.cmd.Stdin = r
	g.cmd.Dir = "/"
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // so that a terminal's Ctrl-C does not reach it
	if err := startChild(g.cmd, g.cmd.Start); err != nil {
		w.Close()
		return nil, fmt.Errorf("start the guardian of the cgroup: %w", err)
	}
	return g, nil
}

// stop ends the guardian, which removes the cgroup if it still exists.
func (g *guardian) stop() error {
	g.lifeline.Close()
	defer forgetChild(g.cmd)
	var exit *exec.ExitError
	if err := g.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return fmt.Errorf("end the guardian of the cgroup: %w", err)
	}
	return nil
}
