package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/faultctl/faultctl/internal/words"

	"github.com/faultctl/faultctl/internal/cage"
	"golang.org/x/sys/unix"
)

// The exit codes of run besides CMD's own, as timeout(1) and env(1) have them.
const (
	exitRunNotFired = 124
	exitRunFailed   = 125 // any of 1, 2, 5, 6; the error event says which
	exitNotExec     = 126
	exitNotFound    = 127
)

// grace is how long a command has between SIGTERM and SIGKILL.
const grace = 5 * time.Second

// job is a command in a cage.
type job struct {
	cmd   *exec.Cmd
	cage  cage.Cage
	begun time.Time
	ended chan struct{} // closed when the command is gone
}

// jobEnd says how a command ended.
type jobEnd struct {
	status   int    // as a shell has it: 128 more than the signal's number
	how      string // in words: exit 1, killed by SIGSEGV, stopped after 30s
	timedOut bool
	took     time.Duration
}

// findCommand returns where the program is, or an error with run's exit code.
func findCommand(name string) (string, error) {
	path, err := exec.LookPath(name)
	switch {
	case err == nil, errors.Is(err, exec.ErrDot):
		return path, nil
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EISDIR):
		return "", &exitError{code: exitNotExec, err: fmt.Errorf("%s cannot be executed", name), advice: "Its file must be a program, and you must have the right to execute it (chmod +x)."}
	}
	return "", &exitError{code: exitNotFound, err: fmt.Errorf("%s: command not found", quote(name))}
}

// afresh is a command, told to run where it would rather say what it said last
// time: go test keeps results, and a run of it that opens no connection shows
// nothing.
func afresh(command []string) []string {
	if len(command) < 2 || filepath.Base(command[0]) != "go" || command[1] != "test" {
		return command
	}
	for _, a := range command[2:] {
		name, _, _ := strings.Cut(strings.TrimLeft(a, "-"), "=")
		if a == "-args" || a == "--args" {
			break
		}
		if strings.HasPrefix(a, "-") && (name == "count" || name == "test.count") {
			return command
		}
	}
	return slices.Concat(command[:2], []string{"-count=1"}, command[2:])
}

// startJob starts the command where it belongs.
func (h *host) startJob(st place, argv []string) (*job, error) {
	j := &job{cage: st.in, ended: make(chan struct{}), begun: h.now()}
	j.cmd = &exec.Cmd{Path: st.path, Args: argv}
	// A nil file must not become an interface that is not nil.
	if st.stdin != nil {
		j.cmd.Stdin = st.stdin
	}
	if st.stdout != nil {
		j.cmd.Stdout = st.stdout
	}
	if st.stderr != nil {
		j.cmd.Stderr = st.stderr
	}
	early := waiting(st.signals)
	err := st.in.Start(j.cmd)
	switch {
	case err == nil:
		for _, s := range early {
			j.cmd.Process.Signal(s)
		}
	case errors.Is(err, fs.ErrNotExist):
		return nil, &exitError{code: exitNotFound, err: fmt.Errorf("%s: not found, or its interpreter is not", argv[0])}
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOEXEC):
		return nil, &exitError{code: exitNotExec, err: fmt.Errorf("%s cannot be executed: %w", argv[0], aboutFile(err))}
	default:
		return nil, fmt.Errorf("start %s: %w", argv[0], errnoFree(err))
	}
	go func() {
		j.cmd.Wait()
		close(j.ended)
	}()
	return j, nil
}

// waiting returns the signals that came before there was a command. It was not
// there to have those of the terminal, so they are like any other.
func waiting(signals <-chan os.Signal) (early []os.Signal) {
	for {
		select {
		case s := <-signals:
			if t, ok := s.(cage.FromTerminal); ok {
				s = syscall.Signal(t)
			}
			early = append(early, s)
		default:
			return early
		}
	}
}

// wait passes signals on until the command has ended, and ends whatever it left
// running. It is ended before that when ctx is done, or when limit is over;
// zero means no limit.
func (h *host) wait(ctx context.Context, j *job, signals <-chan os.Signal, limit time.Duration) (jobEnd, error) {
	var over, kill <-chan time.Time
	if limit > 0 {
		over = h.after(limit)
	}
	stop := ctx.Done()
	end := jobEnd{}
	for running := true; running; {
		select {
		case <-j.ended:
			running = false
		case s := <-signals:
			if _, has := s.(cage.FromTerminal); !has {
				j.cmd.Process.Signal(s)
			}
		case <-stop:
			stop = nil
			j.cmd.Process.Signal(syscall.SIGTERM)
			kill = time.After(grace)
		case <-over:
			end.timedOut = true
			j.cmd.Process.Signal(syscall.SIGTERM)
			kill = time.After(grace)
		case <-kill:
			j.cmd.Process.Kill()
		}
	}
	end.took = h.now().Sub(j.begun)
	end.status, end.how = statusOf(j.cmd.ProcessState)
	if end.timedOut {
		end.how = "stopped after " + words.ShortDuration(limit)
		if end.status == 0 {
			end.status = 128 + int(syscall.SIGTERM)
		}
	}
	return end, j.cage.Empty()
}

// statusOf says how a process ended, as a number and in words.
func statusOf(s *os.ProcessState) (status int, how string) {
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal()), "killed by " + unix.SignalName(ws.Signal())
	}
	return s.ExitCode(), fmt.Sprintf("exit %d", s.ExitCode())
}
