package cage

import (
	"os/exec"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// children are the processes that this one has started and waits for: commands and
// guardians. Whatever else ends as a child of this process was left over by a
// command, and nobody but reapOrphans waits for it.
var children struct {
	sync.Mutex
	waited map[int]struct{}
}

// startChild starts a process that the caller waits for.
func startChild(cmd *exec.Cmd, start func() error) error {
	children.Lock() // it may end before it is noted here
	defer children.Unlock()
	if err := start(); err != nil {
		return err
	}
	if children.waited == nil {
		children.waited = map[int]struct{}{}
	}
	for pid := range children.waited { // a cage may have many commands, one after the other
		var info siginfo
		if _, _, errno := unix.Syscall6(unix.SYS_WAITID, unix.P_PID, uintptr(pid), uintptr(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, 0, 0); errno == unix.ECHILD {
			delete(children.waited, pid)
		}
	}
	children.waited[cmd.Process.Pid] = struct{}{}
	return nil
}

// forgetChild says that the caller has waited for a process.
func forgetChild(cmd *exec.Cmd) {
	children.Lock()
	defer children.Unlock()
	if cmd != nil && cmd.Process != nil {
		delete(children.waited, cmd.Process.Pid)
	}
}

// isWaitedFor reports whether a child of this process is one that it waits for.
func isWaitedFor(pid int) bool {
	children.Lock()
	defer children.Unlock()
	_, is := children.waited[pid]
	return is
}

// reapOrphans waits for processes that lost their parents and have ended. It stops
// at one that somebody else waits for: who does so comes here next.
func reapOrphans() {
	children.Lock()
	defer children.Unlock()
	for {
		var info siginfo
		_, _, errno := unix.Syscall6(unix.SYS_WAITID, unix.P_ALL, 0, uintptr(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, 0, 0)
		if errno != 0 || info.pid == 0 {
			return
		}
		if _, waited := children.waited[int(info.pid)]; waited {
			return
		}
		unix.Wait4(int(info.pid), nil, unix.WNOHANG, nil)
	}
}

// siginfo is siginfo_t as waitid(2) fills it, on 64-bit Linux.
type siginfo struct {
	signo, errno, code, _ int32
	pid                   int32
	_                     [108]byte
}
