package cage

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/netns"
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
	ns, err := netns.New(userns.LoopbackUp)
	if err != nil {
		return nil, err
	}
	return &netnsCage{ns: ns, id: inside}, nil
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
	return netns.Do(i.ns, cmd.Start)
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
