package cage

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"github.com/faultctl/faultctl/internal/netns"
	"golang.org/x/sys/unix"
)

// canCloneInto reports whether this process may create processes in a cgroup (clone3
// with CLONE_INTO_CGROUP, Linux 5.7). Docker's and Podman's default seccomp profiles
// answer clone3 with ENOSYS, because they cannot look at its arguments. The descriptor
// that is asked for is none, so no process is made in any case.
var canCloneInto = sync.OnceValue(func() bool {
	args := struct {
		flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
	}{flags: unix.CLONE_INTO_CGROUP, exitSignal: uint64(unix.SIGCHLD), cgroup: ^uint64(0)}
	_, _, errno := unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args), 0)
	return errno == unix.EINVAL
})

// heldCommand makes this program a command that begins later: faultctl held-command FD
// USER PATH ARG…, where USER is a user, a group and further groups as numbers, or - for
// its own.
const heldCommand = "held-command"

// held is the main function of a process that becomes the command in args when it may:
// it reads a byte from the pipe whose descriptor args have, and ends if there is none.
// Why it cannot become the command goes to the next descriptor, as a number.
func held(args []string) {
	fd, err := strconv.Atoi(args[2])
	if err != nil {
		os.Exit(125)
	}
	unix.CloseOnExec(fd)
	unix.CloseOnExec(fd + 1)
	if n, _ := os.NewFile(uintptr(fd), "go").Read(make([]byte, 1)); n == 0 {
		os.Exit(125)
	}
	if err = become(args[3]); err == nil {
		err = syscall.Exec(args[4], args[5:], os.Environ())
	}
	var errno syscall.Errno
	errors.As(err, &errno)
	fmt.Fprint(os.NewFile(uintptr(fd+1), "why not"), int(errno))
	os.Exit(125)
}

// startHeld is Start where a process cannot be created in a cgroup. The child is this
// program again. It waits until it was moved into the cgroup, and becomes the command
// then.
func (g *cgroupCage) startHeld(cmd *exec.Cmd) error {
	goRead, goWrite, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("create a pipe to the command: %w", err)
	}
	defer goWrite.Close()
	whyRead, whyWrite, err := os.Pipe()
	if err != nil {
		goRead.Close()
		return fmt.Errorf("create a pipe to the command: %w", err)
	}
	defer whyRead.Close()
	path, fd, user := cmd.Path, 3+len(cmd.ExtraFiles), "-"
	if cmd.SysProcAttr != nil && cmd.SysProcAttr.Credential != nil {
		// It needs its rights to read this program, which need not be for everybody.
		user = inNumbers(cmd.SysProcAttr.Credential)
		cmd.SysProcAttr.Credential = nil
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, goRead, whyWrite)
	cmd.Args = append([]string{"faultctl", heldCommand, strconv.Itoa(fd), user, path}, cmd.Args...)
	cmd.Path = "/proc/self/exe"
	err = startChild(cmd, func() error { return netns.Do(g.netns, cmd.Start) })
	goRead.Close()
	whyWrite.Close()
	if err != nil {
		return err
	}
	give := func(err error) error {
		cmd.Process.Kill()
		cmd.Wait()
		forgetChild(cmd)
		return err
	}
	if err := write(filepath.Join(g.cgroup.Dir, "cgroup.procs"), strconv.Itoa(cmd.Process.Pid)); err != nil {
		return give(fmt.Errorf("move the command into the cgroup %s: %w", g.cgroup.Dir, bare(err)))
	}
	goWrite.Write([]byte{1})
	why, _ := io.ReadAll(whyRead) // ends when the child has become the command
	if len(why) > 0 {
		errno, _ := strconv.Atoi(string(why))
		return give(&os.PathError{Op: "fork/exec", Path: path, Err: syscall.Errno(errno)})
	}
	g.cmd = cmd
	return nil
}

// inNumbers is how a held command is told who it is to be.
func inNumbers(c *syscall.Credential) string {
	user := fmt.Sprintf("%d,%d", c.Uid, c.Gid)
	for _, g := range c.Groups {
		user += fmt.Sprintf(",%d", g)
	}
	return user
}

// become makes this process one of that user.
func become(user string) error {
	if user == "-" {
		return nil
	}
	var ids []int
	for _, text := range strings.Split(user, ",") {
		id, err := strconv.Atoi(text)
		if err != nil {
			return syscall.EINVAL
		}
		ids = append(ids, id)
	}
	if len(ids) < 2 {
		return syscall.EINVAL
	}
	return errors.Join(syscall.Setgroups(ids[2:]), syscall.Setgid(ids[1]), syscall.Setuid(ids[0]))
}
