// Package userns runs a program in a user and network namespace of its own,
// where an ordinary user is root.
package userns

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// insideEnv marks the process that runs in namespaces of its own.
const insideEnv = "FAULTCTL_INSIDE"

// CagedEnv marks the commands of faultctl run and verify that have a network
// namespace of their own without being root in it.
const CagedEnv = "FAULTCTL_CAGED"

// Caged reports whether this process belongs to such a command. Faults of its
// own it cannot have; where it went to namespaces of its own, faultctl's could
// not reach it.
func Caged() bool { return os.Getenv(CagedEnv) != "" && os.Geteuid() != 0 }

// MustEnter reports whether this process lacks the rights that faults and
// namespaces take, and [Enter] is the way to them: it is neither root nor inside
// already.
func MustEnter() bool { return os.Geteuid() != 0 && !Inside() }

// Inside reports whether this process runs in namespaces that [Enter] made.
func Inside() bool { return os.Getenv(insideEnv) != "" }

// Main runs tests where they have the rights, and returns the exit code: here, or
// in namespaces of their own.
func Main(run func() int) int {
	if !MustEnter() {
		return run()
	}
	code, err := Enter()
	if err != nil {
		fmt.Fprintln(os.Stderr, "userns:", err)
	}
	return code
}

// Enter runs this program again, with the same arguments, in a user and network
// namespace of its own, where the user is root and the host's network is out of
// reach. It returns the exit code, or an error if user namespaces are forbidden.
// The other process does not outlive this one.
func Enter() (code int, err error) {
	runtime.LockOSThread() // Pdeathsig watches the thread that starts the child
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("start in a user and network namespace: %w; where these are forbidden, run it as root", err)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() {
		for s := range signals {
			cmd.Process.Signal(s)
		}
	}()
	cmd.Wait()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

// LoopbackUp brings up lo in the calling thread's network namespace.
func LoopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bring up loopback: %w", err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, req)
	}
	if err == nil {
		req.SetUint16(req.Uint16() | unix.IFF_UP)
		err = unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
	}
	if err != nil {
		return fmt.Errorf("bring up loopback: %w", err)
	}
	return nil
}
