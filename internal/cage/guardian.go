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

// guardWord makes this program a guardian: faultctl guard-cgroup PATH.
const guardWord = "guard-cgroup"

// Guard is the main function of a guardian. It reports false at once if args do
// not ask for one. A guardian waits for the end of its standard input, which is
// a pipe from faultctl that ends with it, by SIGKILL too, and then ends the
// processes in the cgroup and removes it.
func Guard(args []string) bool {
	if len(args) != 3 || args[1] != guardWord {
		return false
	}
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	io.Copy(io.Discard, os.Stdin)
	kill(args[2])
	remove(args[2])
	return true
}

// guardian is the process that outlives this one for as long as it takes.
type guardian struct {
	cmd      *exec.Cmd
	lifeline *os.File // ends with this process
}

// watchOver starts a guardian for a cgroup that is yet to be made.
func watchOver(path string) (*guardian, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe to the guardian: %w", err)
	}
	defer r.Close()
	g := &guardian{lifeline: w, cmd: exec.Command("/proc/self/exe", guardWord, path)}
	g.cmd.Args[0] = "faultctl"
	g.cmd.Stdin = r
	g.cmd.Dir = "/"
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal's Ctrl-C reaches it
	if err := g.cmd.Start(); err != nil {
		w.Close()
		return nil, fmt.Errorf("start the guardian of the cgroup: %w", err)
	}
	return g, nil
}

// dismiss ends the guardian. What it watched over is gone already, or it sees
// to that now.
func (g *guardian) dismiss() error {
	g.lifeline.Close()
	var exit *exec.ExitError
	if err := g.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return fmt.Errorf("end the guardian of the cgroup: %w", err)
	}
	return nil
}
