package cage

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// insideEnv tells the process that runs in namespaces of its own who started
// it, and how many files it was given: UID:GID:N.
const insideEnv = "FAULTCTL_CAGE"

// identity is who started faultctl, as outside.
type identity struct{ uid, gid int }

// inside is set where Enter led.
var inside *identity

// terminalBit marks a signal on the lifeline as one from the terminal.
const terminalBit = 0x80

// What the process inside finds open beside the three of every process.
const (
	lifelineFD = 3 // the end of the pipe by which the process outside speaks to it
	handedFD   = 4 // what Enter was given for it
)

// handed is what Enter was given for this process.
var handed *os.File

// Handed returns the file that Enter was given, nil if it was given none, or if
// it did not lead here. It is the caller's then.
func Handed() *os.File {
	f := handed
	handed = nil
	return f
}

// Enter runs this program again with the same arguments in namespaces of its
// own: for processes, mounts, the network, and, unless this one is root, users. It returns
// the exit code, or an error where that is forbidden. The other process gets the
// signals that arrive here through Inside's channel, and hand, if it is not nil,
// through Handed: something that cannot be had in there. None of its processes
// outlives this one, by whatever it ends.
func Enter(signals <-chan os.Signal, hand *os.File) (code int, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 1, fmt.Errorf("make a pipe: %w", err)
	}
	defer w.Close()
	runtime.LockOSThread() // Pdeathsig watches the thread that starts the child
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{r}
	if hand != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, hand)
	}
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d:%d:%d", insideEnv, os.Geteuid(), os.Getegid(), len(cmd.ExtraFiles)))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET,
		Pdeathsig:  syscall.SIGKILL,
	}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	err = cmd.Start()
	r.Close()
	if err != nil {
		return 1, fmt.Errorf("run in namespaces of its own: this system lets this user have none (%w)", bare(err))
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

// Inside reports whether Enter led here, and must be called once, first of all.
// It then completes the namespaces, and returns the channel of the signals that
// the process outside was sent. This process ends when that one does.
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
	if files > 1 {
		unix.CloseOnExec(handedFD)
		handed = os.NewFile(handedFD, "handed")
	}

	// The command is to see its own processes. Where a container masks parts of
	// /proc this is forbidden, and it sees those of outside.
	if unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") == nil {
		unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	}
	// What arrives here directly arrives outside as well, or was not meant for
	// the command. Of a pipe that is closed the write says so.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	c := make(chan os.Signal, 8)
	lifeline := os.NewFile(lifelineFD, "lifeline")
	go func() {
		var b [1]byte
		for {
			if n, err := lifeline.Read(b[:]); n == 0 || err != nil {
				os.Exit(1) // the first process of its namespace takes all others with it
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
