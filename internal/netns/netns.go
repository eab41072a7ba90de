// Package netns opens Linux network namespaces and runs functions in them.
package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// ErrNotNetNS says that a file is not a network namespace.
var ErrNotNetNS = errors.New("that file is not a network namespace")

// nsfsMagic is the type of the file system that namespaces live on (NSFS_MAGIC of
// linux/magic.h).
const nsfsMagic = 0x6e736673

// Open opens the network namespace at that path, such as /proc/PID/ns/net or
// /run/netns/NAME. The caller closes the file. The error is ErrNotNetNS if the file
// is something else, and otherwise that of os.Open.
func Open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe would wait for a writer
	if err != nil {
		return nil, err
	}
	if !is(f) {
		f.Close()
		return nil, ErrNotNetNS
	}
	return f, nil
}

// is reports whether f is a network namespace. Only the files of namespaces know
// the request for their type (ioctl_ns(2)), and other files may take its number for
// something else, so the file system is looked at first.
func is(f *os.File) bool {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil || fs.Type != nsfsMagic {
		return false
	}
	kind, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.NS_GET_NSTYPE, 0)
	return errno == 0 && kind == unix.CLONE_NEWNET
}

// Current opens the network namespace that the calling thread is in. A caller whose
// thread is not in the process's own namespace must have locked it.
func Current() (*os.File, error) { return os.Open("/proc/thread-self/ns/net") }

// New makes a network namespace, runs setup on a thread in it if setup is not nil,
// and returns the namespace, which lasts as long as the file is open or something
// lives in it.
func New(setup func() error) (ns *os.File, err error) {
	err = onThread(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		if setup != nil {
			if err = setup(); err != nil {
				return err
			}
		}
		ns, err = Current()
		return err
	})
	return ns, err
}

// Do runs f in a network namespace, and returns its error. Nil is the caller's own
// namespace: f runs on the caller's thread then. Otherwise it runs on a thread that
// is thrown away after it. Sockets that f opens and processes that it starts stay in
// the namespace; goroutines that it starts are not in it.
func Do(ns *os.File, f func() error) error {
	if ns == nil {
		return f()
	}
	return onThread(func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the network namespace: %w", err)
		}
		return f()
	})
}

// onThread runs f on a thread of its own, and ends the thread: it may be left in
// another namespace than the process's.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		done <- f()
	}()
	return <-done
}
