package cage

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"github.com/faultctl/faultctl/internal/rights"
	"golang.org/x/sys/unix"
)

// insideEnv tells the process inside the namespaces who started it, and how many
// of the files it was given, the lowest bit is the first: UID:GID:FILES.
const insideEnv = "FAULTCTL_CAGE"

// identity is the user who started faultctl, with ids from outside the
// namespaces.
type identity struct{ uid, gid int }

// inside is set in a process that Enter started.
var inside *identity

// UID is the user who started faultctl, as numbered outside of the namespaces that
// Enter made.
func UID() int {
	if inside != nil {
		return inside.uid
	}
	return os.Geteuid()
}

// terminalBit marks a signal in the pipe as one from the terminal.
const terminalBit = 0x80

// Descriptors that the process inside finds open, besides the standard three.
const (
	lifelineFD = 3 // the pipe from the outer process
	handedFD   = 4 // the first of the files that Enter was given
)

// handed are the files that Enter was given for this process.
var handed []*os.File

// Handed returns the files that Enter was given, nil for each that was nil, and none
// if Enter did not start this process. The caller must close them. Further calls
// return none.
func Handed() []*os.File {
	fs := handed
	handed = nil
	return fs
}

// Enter runs this program again, with the same arguments, in new PID, mount and
// network namespaces and, unless this process is root, a new user namespace. It
// returns the exit code (128 plus the number of a signal that ended it), or an
// error if namespaces are not permitted. The new process gets the signals that
// arrive from the channel through Inside's channel, and hand through Handed: files that
// cannot be opened inside, of which each may be nil. None of its processes outlives
// this one, however it ends.
func Enter(signals <-chan os.Signal, hand ...*os.File) (code int, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 1, fmt.Errorf("create a pipe: %w", err)
	}
	defer w.Close()
	runtime.LockOSThread() // Pdeathsig watches the thread that starts the child
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{r}
	files := 0 // which of them there are
	for i, f := range hand {
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		if f != nil {
			files |= 1 << i
		}
	}
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d:%d:%d", insideEnv, os.Geteuid(), os.Getegid(), files))
	// A program that has capabilities from its file is not dumpable, and its user may not
	// give its child an identity then. The child has none of these capabilities.
	unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET,
		Pdeathsig:  syscall.SIGKILL,
	}
	if own := rights.Own(); !own.Root || !own.SysAdmin || !own.Enough() {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	err = cmd.Start()
	r.Close()
	if err != nil {
		return 1, fmt.Errorf("run in new namespaces: this system does not permit it to this user (%w)", bare(err))
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for {
			select {
			case s := <-signals:
				switch sig := s.(type) {
				case syscall.Signal:
					w.Write([]byte{byte(sig)})
				case FromTerminal:
					w.Write([]byte{byte(sig) | terminalBit})
				}
			case <-ended:
				return
			}
		}
	}()
	cmd.Wait()
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

// Output runs this program in namespaces as Enter makes them, where it is root, and
// returns what it printed. The error is that namespaces are not permitted.
func Output(args ...string) ([]byte, error) {
	cmd := exec.Command("/proc/self/exe", args...)
	unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) // see Enter
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return out, nil // it ran
	}
	return out, err
}

// Inside reports whether Enter started this process. It must be called once,
// before anything else. It completes the namespaces, and returns the channel with
// the signals that the outer process was sent. This process ends when the outer
// one does.
func Inside() (signals <-chan os.Signal, yes bool) {
	id, yes := os.LookupEnv(insideEnv)
	if !yes || os.Getpid() != 1 {
		return nil, false
	}
	os.Unsetenv(insideEnv)
	inside = &identity{}
	files := 0
	fmt.Sscanf(strings.ReplaceAll(id, ":", " "), "%d %d %d", &inside.uid, &inside.gid, &files)
	unix.CloseOnExec(lifelineFD)
	for i := 0; files>>i != 0; i++ {
		var f *os.File
		if files>>i&1 != 0 {
			unix.CloseOnExec(handedFD + i)
			f = os.NewFile(uintptr(handedFD+i), "handed")
		}
		handed = append(handed, f)
	}

	// The command should see its own processes. If a container masks parts of
	// /proc, this mount is not permitted, and it sees those outside.
	if unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") == nil {
		unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	}
	// Signals that arrive here directly arrive at the outer process as well, or
	// are not for the command. A write to a closed pipe returns an error.
	signal.Notify(make(chan os.Signal, 1), Heeded(syscall.SIGPIPE, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)...)
	c := make(chan os.Signal, 8)
	lifeline := os.NewFile(lifelineFD, "lifeline")
	go func() {
		var b [1]byte
		for {
			if n, err := lifeline.Read(b[:]); n == 0 || err != nil {
				os.Exit(1) // the kernel then kills all others in the PID namespace
			}
			if sig := syscall.Signal(b[0] &^ terminalBit); b[0]&terminalBit != 0 {
				c <- FromTerminal(sig)
			} else {
				c <- sig
			}
		}
	}()
	return c, true
}
