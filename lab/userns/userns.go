// Package userns runs a program in a new user and network namespace, where an
// unprivileged user is root, or stays who they are and may inject faults.
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

// insideEnv marks a process that runs in namespaces that Enter created.
const insideEnv = "FAULTCTL_INSIDE"

// CagedEnv marks the commands of faultctl run and verify that have their own
// network namespace without being root in it.
const CagedEnv = "FAULTCTL_CAGED"

// Caged reports whether this process belongs to such a command. It cannot inject
// faults itself, and if it entered another namespace, faultctl's faults would not
// reach it.
func Caged() bool { return os.Getenv(CagedEnv) != "" && os.Geteuid() != 0 }

// MustEnter reports whether this process lacks the privileges that faults and
// namespaces need, and can get them with [Enter]: it is not root, and it is not
// inside already.
func MustEnter() bool { return os.Geteuid() != 0 && !Inside() }

// Inside reports whether this process runs in namespaces that [Enter] or [EnterAsSelf]
// created.
func Inside() bool { return os.Getenv(insideEnv) != "" }

// Main calls run where it has the privileges, and returns the exit code: in this
// process, or in one that [Enter] starts, where loopback is up.
func Main(run func() int) int { return runIn(Enter, run) }

// MainAsSelf is [Main] with [EnterAsSelf] in place of Enter.
func MainAsSelf(run func() int) int { return runIn(EnterAsSelf, run) }

func runIn(enter func() (int, error), run func() int) int {
	if !MustEnter() {
		if Inside() {
			if err := LoopbackUp(); err != nil {
				fmt.Fprintln(os.Stderr, "userns:", err)
				return 1
			}
		}
		return run()
	}
	code, err := enter()
	if err != nil {
		fmt.Fprintln(os.Stderr, "userns:", err)
	}
	return code
}

// Enter runs this program again, with the same arguments, in a new user and
// network namespace, where the user is root and the host's network is out of
// reach. It returns the exit code (128 plus the number of a signal that ended it),
// or an error if user namespaces are not permitted. The new process does not
// outlive this one.
func Enter() (code int, err error) { return enter(0, 0, nil) }

// EnterAsSelf is [Enter], except that the user stays who they are: the user and
// group ids are those outside, so that programs which refuse to run as root, such
// as PostgreSQL, can be started. The new process and those that it starts have the
// capabilities CAP_NET_ADMIN, CAP_NET_RAW and CAP_SYS_ADMIN of the new namespaces
// (to inject faults, and to make network namespaces of their own) and
// CAP_NET_BIND_SERVICE (to listen on ports below 1024), as ambient ones: see
// capabilities(7).
func EnterAsSelf() (code int, err error) {
	return enter(os.Geteuid(), os.Getegid(), []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_SYS_ADMIN, unix.CAP_NET_BIND_SERVICE})
}

// enter runs this program again in a new user and network namespace, where the user
// has that uid and gid, and the ambient capabilities.
func enter(uid, gid int, caps []uintptr) (code int, err error) {
	runtime.LockOSThread() // Pdeathsig watches the thread that starts the child
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: gid, HostID: os.Getegid(), Size: 1}},
		AmbientCaps: caps,
		Pdeathsig:   syscall.SIGKILL,
	}
	// A program that has capabilities from its file is not dumpable, and its user may not
	// give its child an identity then.
	unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("start in a user and network namespace: %w; if user namespaces are not permitted, run it as root", err)
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

// LoopbackUp sets lo up in the calling thread's network namespace.
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
