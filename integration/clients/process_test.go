package clients

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/faultctl/faultctl/lab"
)

// process is a program that runs on a host of a lab, as a child of this process
// that does not outlive it.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // once done
}

// start starts a program on a host, or in this process's own namespace. The
// thread that starts it also waits for it and does nothing else, because
// Pdeathsig watches the thread, not the process.
func start(node *lab.Node, cmd *exec.Cmd) (*process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	cmd.SysProcAttr.Setpgid = true
	cmd.WaitDelay = time.Second
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		err := enter(node, func() error {
			if err := cmd.Start(); err != nil {
				return err
			}
			started <- nil
			p.err = cmd.Wait()
			return nil
		})
		if err != nil {
			started <- err
		}
		close(p.done)
	}()
	return p, <-started
}

func enter(node *lab.Node, f func() error) error {
	if node != nil {
		return node.Do(f)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return f()
}

// within waits at most that long for the program to end. After that it kills the
// program and everything that it started, and reports false.
func (p *process) within(d time.Duration) bool {
	select {
	case <-p.done:
		return true
	case <-time.After(d):
	}
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
	return false
}

// stop sends the signal, and SIGKILL if the program has not ended 5 s later.
func (p *process) stop(sig syscall.Signal) {
	p.cmd.Process.Signal(sig)
	p.within(5 * time.Second)
}

// server is a program that listens.
type server struct {
	*process
	end syscall.Signal
	log string // the file that it writes to
}

// listens starts a server on a host and waits until it listens. Its output goes to
// that file.
func listens(node *lab.Node, at string, end syscall.Signal, cmd *exec.Cmd, logFile string) (*server, error) {
	log, err := os.Create(logFile)
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = log, log
	p, err := start(node, cmd)
	log.Close()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	s := &server{process: p, end: end, log: logFile}
	ended := func() bool {
		select {
		case <-p.done:
			return true
		default:
			return false
		}
	}
	ready := func() bool {
		if filepath.Base(cmd.Path) == "postgres" && !bytes.Contains(s.wrote(), []byte("ready to accept connections")) {
			return false // it listens before it lets anybody in
		}
		return dial(node, at) == nil
	}
	patience := time.Now().Add(2 * time.Minute) // some servers start slowly on a busy machine
	for !lab.Eventually(func() bool { return ended() || ready() }) && time.Now().Before(patience) {
	}
	if ended() || !ready() {
		s.stop(end)
		return nil, fmt.Errorf("%s does not listen on %s\n%s", cmd.Path, at, s.wrote())
	}
	return s, nil
}

// wrote is what the server wrote.
func (s *server) wrote() []byte {
	b, _ := os.ReadFile(s.log)
	return b
}

// serve starts a server on a host, waits until it listens, and stops it when the
// test ends. Its output is shown if the test fails.
func serve(t *testing.T, node *lab.Node, at string, end syscall.Signal, cmd *exec.Cmd) {
	t.Helper()
	s, err := listens(node, at, end, cmd, filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.stop(end)
		if b := s.wrote(); t.Failed() && len(b) > 0 {
			t.Logf("%s wrote:\n%s", filepath.Base(cmd.Path), b)
		}
	})
}

// dial returns nil if a server listens there.
func dial(node *lab.Node, at string) error {
	return node.Do(func() error {
		c, err := net.DialTimeout("tcp", at, time.Second)
		if err == nil {
			c.Close()
		}
		return err
	})
}
