// Package cage keeps a command and everything that it starts together, so that
// faults strike only the connections of these processes, and none of them outlives
// faultctl, however it ends.
//
// There are two kinds. As root, a cage is a cgroup v2: rules match it, and a
// guardian, a second process, empties and removes it when faultctl is gone.
// Without root, it is a network namespace within user, PID and mount namespaces
// (Enter) whose first process is faultctl: when that process ends, the kernel kills
// all others.
package cage

import (
	"os"
	"os/exec"

	"github.com/faultctl/faultctl/injector/target"
)

// Cage holds the processes of one command. It is not safe for concurrent use, but
// several may be in use at the same time.
type Cage interface {
	// Owner limits rules to connections of the processes in the cage.
	Owner() target.Owner

	// NetNS is the network namespace of the processes; nil means the caller's
	// own. It is open until Close.
	NetNS() *os.File

	// Start starts a command in the cage.
	Start(cmd *exec.Cmd) error

	// Empty kills every process in the cage, and returns when none is left. The
	// caller must have waited for the command before.
	Empty() error

	// Close removes an empty cage.
	Close() error
}
