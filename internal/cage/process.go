package cage

import (
	"os"
	"os/exec"
	"syscall"

	"github.com/faultctl/faultctl/injector/target"
)

// A Process is a command that was started in a cage.
type Process interface {
	// Wait waits for its end and returns how it ended. If it was started in a process
	// group of its own, what is left of that is killed. It is called once.
	Wait() (syscall.WaitStatus, error)

	// Signal sends it a signal. It does nothing if the process has ended.
	Signal(os.Signal) error

	// PID is its process id, as long as Wait has not returned.
	PID() int
}

// child is a Process that this process has started.
type child struct{ *exec.Cmd }

// Child makes a started command a Process.
func Child(cmd *exec.Cmd) Process { return child{cmd} }

func (c child) Signal(s os.Signal) error { return c.Process.Signal(s) }
func (c child) PID() int                 { return c.Process.Pid }

func (c child) Wait() (syscall.WaitStatus, error) {
	err := c.Cmd.Wait()
	if c.SysProcAttr != nil && c.SysProcAttr.Setpgid {
		syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
	}
	if c.ProcessState == nil {
		return 0, err
	}
	return c.ProcessState.Sys().(syscall.WaitStatus), nil
}

// loose is a cage that keeps nothing together.
type loose struct{}

// NewLoose returns a cage for commands that no other cage can hold: they run where
// this process does. Each ends with the thread that started it at the latest; what it
// has started in turn does not.
func NewLoose() Cage { return loose{} }

func (loose) Owner() target.Owner { return target.Owner{} }
func (loose) NetNS() *os.File     { return nil }
func (loose) Empty() error        { return nil }
func (loose) Close() error        { return nil }

func (loose) Start(cmd *exec.Cmd) (Process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return child{cmd}, nil
}
