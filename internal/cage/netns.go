package cage

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
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
	ns  *os.File
	id  *identity
	cmd *exec.Cmd // the command; nil until it was started
}

// open counts the cages of namespaces that are not closed yet. It is locked while
// the last one kills everything.
var open struct {
	sync.Mutex
	cages int
}

// NewNetns creates a cage that is a new network namespace. It works only in a
// process that Enter started.
func NewNetns() (Cage, error) {
	if inside == nil || os.Getpid() != 1 && !launches {
		return nil, errors.New("a network namespace for the command needs the namespaces of Enter around it")
	}
	ns, err := netns.New(userns.LoopbackUp)
	if err != nil {
		return nil, err
	}
	open.Lock()
	defer open.Unlock()
	open.cages++
	return &netnsCage{ns: ns, id: inside}, nil
}

func (i *netnsCage) Owner() target.Owner { return target.Owner{} }
func (i *netnsCage) NetNS() *os.File     { return i.ns }

// Start starts a command as the user who started faultctl. Only faultctl itself
// is root in the namespaces.
func (i *netnsCage) Start(cmd *exec.Cmd) (Process, error) {
	if i.id.uid != 0 {
		cmd.Env = append(cmd.Environ(), userns.CagedEnv+"=1")
		if cmd.SysProcAttr == nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{}
		}
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: i.id.uid, HostID: 0, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: i.id.gid, HostID: 0, Size: 1}}
	}
	err := startChild(cmd, func() error { return netns.Do(i.ns, cmd.Start) })
	if err != nil {
		return nil, err
	}
	i.cmd = cmd
	return child{cmd}, nil
}

// Empty kills every process except this one, which is the first of its PID
// namespace or its launcher. While there are other cages it kills only the processes in its network
// namespace and those that they started: what was moved out and lost its parents
// stays until the last cage is emptied.
func (i *netnsCage) Empty() error {
	forgetChild(i.cmd)
	open.Lock()
	defer open.Unlock()
	if open.cages > 1 {
		return i.emptyAlone()
	}
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		unix.Kill(-1, unix.SIGKILL)
		_, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.ECHILD):
			return nil
		case time.Now().After(end):
			return errImmortal
		}
	}
}

var errImmortal = errors.New("processes of the command do not die of SIGKILL: they wait for a device")

// emptyAlone kills the processes of this cage and of no other: those in its network
// namespace, and their descendants.
func (i *netnsCage) emptyAlone() error {
	var own unix.Stat_t
	if err := unix.Fstat(int(i.ns.Fd()), &own); err != nil {
		return fmt.Errorf("look at the network namespace of the command: %w", err)
	}
	return killAll(func() []int {
		up := parents()
		var in []int
		for pid := range up {
			var ns unix.Stat_t
			err := unix.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), &ns) // it fails for one that has ended
			if err == nil && pid != os.Getpid() && ns.Ino == own.Ino && ns.Dev == own.Dev {
				in = append(in, pid)
			}
		}
		reapOrphans()
		return withDescendants(in, up)
	})
}

func (i *netnsCage) Close() error {
	open.Lock()
	open.cages--
	open.Unlock()
	return i.ns.Close()
}
