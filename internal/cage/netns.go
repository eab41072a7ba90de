package cage

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/lab/userns"
	"golang.org/x/sys/unix"
)

// netnsCage is a cage that is a network namespace with only loopback. The
// processes are kept together by the PID namespace that Enter created.
type netnsCage struct {
	ns *os.File
	id *identity
}

// NewNetns creates a cage that is a new network namespace. It works only in a
// process that Enter started.
func NewNetns() (Cage, error) {
	if inside == nil || os.Getpid() != 1 {
		return nil, errors.New("a network namespace for the command needs the namespaces of Enter around it")
	}
	i := &netnsCage{id: inside}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		done <- i.open()
	}()
	if err := <-done; err != nil {
		return nil, err
	}
	return i, nil
}

func (i *netnsCage) open() (err error) {
	if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("create a network namespace: %w", err)
	}
	if err = userns.LoopbackUp(); err != nil {
		return err
	}
	i.ns, err = os.Open("/proc/thread-self/ns/net")
	return err
}

func setns(ns *os.File) error {
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the network namespace: %w", err)
	}
	return nil
}

func (i *netnsCage) Owner() target.Owner { return target.Owner{} }
func (i *netnsCage) NetNS() *os.File     { return i.ns }

// Start starts a command as the user who started faultctl. Only faultctl itself
// is root in the namespaces.
func (i *netnsCage) Start(cmd *exec.Cmd) error {
	if i.id.uid != 0 {
		cmd.Env = append(cmd.Environ(), userns.CagedEnv+"=1")
		if cmd.SysProcAttr == nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{}
		}
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: i.id.uid, HostID: 0, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: i.id.gid, HostID: 0, Size: 1}}
	}
	return inNetns(i.ns, cmd.Start)
}

// Empty kills every process except this one, which is the first of its PID
// namespace.
func (i *netnsCage) Empty() error {
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		unix.Kill(-1, unix.SIGKILL)
		_, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.ECHILD):
			return nil
		case time.Now().After(end):
			return errors.New("processes of the command do not die of SIGKILL: they wait for a device")
		}
	}
}

func (i *netnsCage) Close() error { return i.ns.Close() }
