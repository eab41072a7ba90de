// Package integration runs tests against real sockets in network namespaces of
// their own, as root or without.
//
//	func TestMain(m *testing.M) { os.Exit(integration.Main(m)) }
package integration

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// insideEnv marks the process that runs in namespaces of its own.
const insideEnv = "FAULTCTL_INSIDE"

// Main runs the tests of m in namespaces of their own and returns the exit
// code. As root it runs them in this process. Otherwise it starts the test
// binary again in a new user and network namespace, where the user is root; the
// host's network is out of reach there.
func Main(m *testing.M) int {
	if os.Geteuid() == 0 || os.Getenv(insideEnv) != "" {
		return m.Run()
	}
	return reexec()
}

func reexec() int {
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "integration:", err)
		return 1
	}
	runtime.LockOSThread() // Pdeathsig watches the thread that starts the child
	defer runtime.UnlockOSThread()
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		fmt.Fprintf(os.Stderr, "integration: start in a user and network namespace: %v\n(run the tests as root where user namespaces are forbidden)\n", err)
		return 1
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		for s := range signals {
			cmd.Process.Signal(s)
		}
	}()
	if err := cmd.Wait(); err != nil {
		if code := cmd.ProcessState.ExitCode(); code > 0 {
			return code
		}
		return 1
	}
	return 0
}
