// Package cage keeps a command and everything that it starts together, so that
// faults strike only the connections of these processes, and none of them outlives
// faultctl, however it ends.
//
// There are three kinds. With root's rights, a cage is a cgroup v2: rules match it,
// and a guardian, a second process, empties and removes it when faultctl is gone.
// Where no cgroup can be made, as in most containers, it is the network namespace
// that the command shares with others, and the guardian knows the command's processes
// by a word in their environment. Without rights, it is a network namespace of its own
// within user, PID and mount namespaces (Enter) whose first process is faultctl: when
// that process ends, the kernel kills all others.
package cage

import (
	"errors"
	"os"
	"os/exec"

	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
)

// New creates the cage that fits a command which stays in its network namespace: a
// cgroup v2, or where none can be made, what NewShared makes. The command runs in
// netns, which must stay open until Close; nil means the caller's own. If neither is
// possible, the error is an injector.ErrPermission or injector.ErrNotSupported.
func New(netns *os.File) (Cage, error) {
	c, err := NewCgroup(netns)
	if err != nil && Shares(netns) == nil {
		return c, err
	}
	if err != nil && (errors.Is(err, injector.ErrPermission) || errors.Is(err, injector.ErrNotSupported)) {
		return NewShared(netns)
	}
	return c, err
}

// Cage holds the processes of one command. It is not safe for concurrent use, but
// several may be in use at the same time.
type Cage interface {
	// Owner limits rules to connections of the processes in the cage. The zero Owner
	// says that rules cannot tell them from others in the network namespace: then no
	// two cages may be in use at the same time, unless each has a namespace of its own.
	Owner() target.Owner

	// NetNS is the network namespace of the processes; nil means the caller's
	// own. It is open until Close.
	NetNS() *os.File

	// Start starts a command in the cage. Its standard files are of type *os.File or
	// nil.
	Start(cmd *exec.Cmd) (Process, error)

	// Empty kills every process in the cage, and returns when none is left. The
	// caller must have waited for the command before.
	Empty() error

	// Close removes an empty cage.
	Close() error
}
