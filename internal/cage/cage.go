// Package cage keeps a command and all that it starts together, so that faults
// strike the connections of these processes only, and none of the processes
// outlives faultctl, however it ends.
//
// There are two kinds. As root a cage is a cgroup v2: rules match it, and a
// guardian, a second process, empties and removes it when faultctl is gone.
// Without root it is a network namespace, within namespaces for users, processes
// and mounts (Enter) whose first process is faultctl: with that one the kernel
// ends all others.
package cage

import (
	"os"
	"os/exec"
	"runtime"

	"github.com/faultctl/faultctl/injector/target"
)

// Cage holds processes. One goroutine uses it.
type Cage interface {
	// Owner narrows rules to connections of the processes in the cage.
	Owner() target.Owner

	// NetNS is the network namespace that the processes live in, nil being the
	// caller's own. It is open until Close.
	NetNS() *os.File

	// Start starts a command in the cage.
	Start(cmd *exec.Cmd) error

	// Empty ends every process in the cage, the hard way, and returns when none
	// is left. A command that was started must have been waited for.
	Empty() error

	// Close gives an empty cage back.
	Close() error
}

// inNetns runs f on a thread of the network namespace, which is thrown away
// after it. Processes that f starts live in the namespace. Nil is the caller's
// own.
func inNetns(ns *os.File, f func() error) error {
	if ns == nil {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := setns(ns)
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}
