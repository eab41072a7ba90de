package cage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// launchCommand makes this program a launcher: faultctl launch-commands [UID GID].
const launchCommand = "launch-commands"

// launcherFD is where a launcher finds the socket to its parent.
const launcherFD = 3

// Launch is the main function of a launcher. It returns false at once if args do not
// ask for one, and otherwise when its parent has ended or closed the socket: what is
// left of the commands is then killed by their guardians, or with the namespace.
func Launch(args []string) bool {
	if len(args) < 2 || args[1] != launchCommand || len(args) != 2 && len(args) != 4 {
		return false
	}
	if len(args) == 4 {
		uid, err1 := strconv.Atoi(args[2])
		gid, err2 := strconv.Atoi(args[3])
		if err1 != nil || err2 != nil {
			return true
		}
		inside, launches = &identity{uid, gid}, true
	}
	// What a terminal sends is for the parent and for commands. It is caught rather
	// than ignored, because commands would inherit that it is ignored.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTSTP, syscall.SIGPIPE)
	go func() {
		for range caught {
		}
	}()
	unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	unix.CloseOnExec(launcherFD)
	parent, err := connOf(os.NewFile(launcherFD, "parent"))
	if err != nil {
		return true
	}
	for {
		var req request
		files, err := receive(parent, &req)
		if err != nil {
			return true
		}
		if !answerMake(parent, &req, files) {
			return true
		}
	}
}

// launches says that this process is a launcher inside the namespaces of Enter.
var launches bool

// answerMake makes a cage, and a socket to it. It reports false if the parent is gone.
func answerMake(parent *net.UnixConn, req *request, files []*os.File) bool {
	var a answer
	var netns *os.File
	if len(files) > 0 {
		netns = files[0]
		closeAll(files[1:])
	}
	box, err := newCage(req, netns)
	var here *net.UnixConn
	var there *os.File
	if err == nil {
		if here, there, err = pair(); err != nil {
			err = errors.Join(err, box.Close())
		}
	}
	if err != nil {
		if netns != nil {
			netns.Close()
		}
		a.fail(err)
		return send(parent, a) == nil
	}
	defer there.Close()
	a.Owner = box.Owner()
	out := []*os.File{there}
	if req.Kind == netnsKind {
		a.NetNS, out = true, append(out, box.NetNS())
	}
	go serveCage(here, box, netns)
	return send(parent, a, out...) == nil
}

func newCage(req *request, netns *os.File) (Cage, error) {
	switch {
	case req.Do != doMake:
		return nil, errors.New("that is asked of a cage")
	case req.Kind == fittingKind:
		return New(netns)
	case req.Kind == netnsKind:
		return NewNetns()
	}
	return NewLoose(), nil
}

// serveCage does what is asked of a cage, until it is closed or nobody can ask any
// more. It stays on one thread: a command in a loose cage ends with it.
func serveCage(conn *net.UnixConn, box Cage, netns *os.File) {
	runtime.LockOSThread()
	defer conn.Close()
	if netns != nil {
		defer netns.Close()
	}
	started := processes{alive: map[int]Process{}}
	for {
		var req request
		files, err := receive(conn, &req)
		if err != nil {
			box.Empty()
			box.Close()
			return
		}
		var a answer
		switch req.Do {
		case doStart:
			a.PID, err = started.start(&req, files, box)
		case doSignal:
			err = started.signal(req.PID, req.Signal)
		case doEmpty:
			err = box.Empty()
		case doClose:
			a.fail(box.Close())
			send(conn, a)
			return
		default:
			err = fmt.Errorf("request %d", req.Do)
		}
		closeAll(files)
		a.fail(err)
		if send(conn, a) != nil {
			box.Empty()
			box.Close()
			return
		}
	}
}

// processes are those of a cage that have not been waited for.
type processes struct {
	mu    sync.Mutex
	alive map[int]Process
}

// signal sends a signal to one of them, and does nothing if it is none.
func (ps *processes) signal(pid int, s syscall.Signal) error {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.alive[pid]
	if p == nil {
		return nil
	}
	if err := p.Signal(s); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// start starts a command, and has it told on the last of the files how it ended.
func (ps *processes) start(req *request, files []*os.File, box Cage) (pid int, err error) {
	if len(files) != 4 {
		return 0, fmt.Errorf("%d descriptors came, not 4", len(files))
	}
	if !strings.Contains(req.Path, "/") {
		path, err := exec.LookPath(req.Path)
		if err != nil && !errors.Is(err, exec.ErrDot) {
			return 0, err
		}
		req.Path = path
	}
	cmd := &exec.Cmd{Path: req.Path, Args: req.Args, Env: req.Env, Dir: req.Dir, Stdin: files[0], Stdout: files[1], Stderr: files[2]}
	if req.Group || req.As != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: req.Group, Credential: req.As}
	}
	fd, err := unix.FcntlInt(files[3].Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	told := os.NewFile(uintptr(fd), "end")
	p, err := box.Start(cmd)
	if err != nil {
		told.Close()
		return 0, err
	}
	pid = p.PID()
	ps.mu.Lock()
	ps.alive[pid] = p
	ps.mu.Unlock()
	go func() {
		defer told.Close()
		status, err := p.Wait()
		ps.mu.Lock()
		delete(ps.alive, pid)
		ps.mu.Unlock()
		if err == nil {
			told.Write(binary.NativeEndian.AppendUint32(nil, uint32(status)))
		}
	}()
	return pid, nil
}
