package cage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"github.com/faultctl/faultctl/injector/target"
)

// A Launcher is a process that makes cages and starts commands in them for this one,
// with the rights that this one has when it starts the launcher. This process can
// then give its rights up (package sandbox), and commands keep those of the caller.
// The launcher reads no packets and no files; it does what its parent asks, over a
// socket that nobody else has, and ends with it. Any goroutine may use it.
type Launcher struct {
	mu   sync.Mutex
	conn *net.UnixConn
	cmd  *exec.Cmd
}

// NewLauncher starts a launcher.
func NewLauncher() (*Launcher, error) {
	conn, theirs, err := pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	l := &Launcher{conn: conn, cmd: exec.Command("/proc/self/exe", launchCommand)}
	l.cmd.Args[0] = "faultctl"
	if inside != nil {
		l.cmd.Args = append(l.cmd.Args, fmt.Sprint(inside.uid), fmt.Sprint(inside.gid))
	}
	l.cmd.Stdin, l.cmd.Stdout, l.cmd.Stderr = os.Stdin, os.Stdout, os.Stderr // for commands that have the terminal
	l.cmd.ExtraFiles = []*os.File{theirs}
	if err := l.cmd.Start(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("start the process that starts commands: %w", err)
	}
	return l, nil
}

// New is the function of that name, done by the launcher.
func (l *Launcher) New(netns *os.File) (Cage, error) { return l.make(fittingKind, netns) }

// NewNetns is the function of that name, done by the launcher.
func (l *Launcher) NewNetns() (Cage, error) { return l.make(netnsKind, nil) }

// NewLoose is the function of that name, done by the launcher.
func (l *Launcher) NewLoose() (Cage, error) { return l.make(looseKind, nil) }

func (l *Launcher) make(k kind, netns *os.File) (Cage, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var files []*os.File
	if netns != nil {
		files = append(files, netns)
	}
	a, got, err := ask(l.conn, request{Do: doMake, Kind: k}, files...)
	if err != nil {
		return nil, err
	}
	c := &remoteCage{owner: a.Owner, netns: netns}
	if len(got) == 0 || a.NetNS && len(got) < 2 {
		closeAll(got)
		return nil, errGone
	}
	if a.NetNS {
		c.netns, c.own = got[1], true
	}
	if c.conn, err = connOf(got[0]); err != nil {
		closeAll(got[1:])
		return nil, err
	}
	return c, nil
}

// Close ends the launcher. Its cages are closed. It may be called more than once.
func (l *Launcher) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.conn.Close(); errors.Is(err, net.ErrClosed) {
		return nil
	}
	var exit *exec.ExitError
	if err := l.cmd.Wait(); err != nil && !errors.As(err, &exit) && !errors.Is(err, syscall.ECHILD) {
		return fmt.Errorf("end the process that starts commands: %w", err)
	}
	return nil
}

var errGone = errors.New("the process that starts commands has ended")

// ask sends a request and waits for the answer.
func ask(conn *net.UnixConn, req request, files ...*os.File) (a answer, got []*os.File, err error) {
	if err := send(conn, req, files...); err != nil {
		return a, nil, fmt.Errorf("%w: %w", errGone, err)
	}
	if got, err = receive(conn, &a); err != nil {
		return a, nil, fmt.Errorf("%w: %w", errGone, err)
	}
	if err := a.err(); err != nil {
		closeAll(got)
		return a, nil, err
	}
	return a, got, nil
}

// remoteCage is a cage that the launcher has made.
type remoteCage struct {
	mu    sync.Mutex // a request at a time
	conn  *net.UnixConn
	owner target.Owner
	netns *os.File
	own   bool // netns is closed with the cage
}

func (c *remoteCage) Owner() target.Owner { return c.owner }
func (c *remoteCage) NetNS() *os.File     { return c.netns }

func (c *remoteCage) ask(req request, files ...*os.File) (answer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, got, err := ask(c.conn, req, files...)
	closeAll(got)
	return a, err
}

// Start starts a command with the rights of the launcher. Its standard files are of
// type *os.File or nil, and of its SysProcAttr only Setpgid
// and Credential may be set.
func (c *remoteCage) Start(cmd *exec.Cmd) (Process, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	how, end, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer end.Close()
	req := request{Do: doStart, Path: cmd.Path, Args: cmd.Args, Env: cmd.Environ(), Dir: cmd.Dir}
	if req.Dir == "" {
		req.Dir, _ = os.Getwd() // without one the launcher's own will do
	}
	if cmd.Err != nil { // it was not found with the rights of this process
		req.Path = cmd.Args[0]
	}
	if a := cmd.SysProcAttr; a != nil {
		req.Group, req.As = a.Setpgid, a.Credential
	}
	var files []*os.File
	for _, std := range []any{cmd.Stdin, cmd.Stdout, cmd.Stderr} {
		f, is := std.(*os.File)
		if std == nil {
			f = null
		} else if !is {
			how.Close()
			return nil, fmt.Errorf("start %s: its standard files must be files", cmd.Path)
		}
		files = append(files, f)
	}
	a, err := c.ask(req, append(files, end)...)
	if err != nil {
		how.Close()
		return nil, err
	}
	return &remoteProcess{cage: c, pid: a.PID, end: how}, nil
}

func (c *remoteCage) Empty() error {
	_, err := c.ask(request{Do: doEmpty})
	return err
}

func (c *remoteCage) Close() error {
	_, err := c.ask(request{Do: doClose})
	c.conn.Close()
	if c.own {
		c.netns.Close()
	}
	return err
}

// remoteProcess is a command that the launcher has started.
type remoteProcess struct {
	cage *remoteCage
	pid  int
	end  *os.File // tells how it ended
}

func (p *remoteProcess) PID() int { return p.pid }

func (p *remoteProcess) Signal(s os.Signal) error {
	sig, is := s.(syscall.Signal)
	if !is {
		return errors.New("it is no signal of this system")
	}
	_, err := p.cage.ask(request{Do: doSignal, Signal: sig, PID: p.pid})
	return err
}

func (p *remoteProcess) Wait() (syscall.WaitStatus, error) {
	defer p.end.Close()
	var status [4]byte
	if _, err := io.ReadFull(p.end, status[:]); err != nil {
		return syscall.WaitStatus(syscall.SIGKILL), errGone // its guardian kills it
	}
	return syscall.WaitStatus(binary.NativeEndian.Uint32(status[:])), nil
}
