package place

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

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/internal/cage"
	"golang.org/x/sys/unix"
)

// Grace is the time between SIGTERM and SIGKILL.
const Grace = 5 * time.Second

// A Job is a command in a cage.
type Job struct {
	proc  cage.Process
	host  *Host
	cage  cage.Cage
	begun time.Time
	ended chan struct{} // closed when the command has ended
	how   syscall.WaitStatus
	lost  error // why how is not known
}

// A JobEnd says how a command ended.
type JobEnd struct {
	Status   int    // as a shell has it: 128 more than the signal's number
	How      string // in words: exit 1, killed by SIGSEGV, stopped after 30s
	TimedOut bool
	Took     time.Duration
}

// Afresh changes a command so that it does not reuse an earlier result: go
// test caches results, and a cached run opens no connections.
func Afresh(command []string) []string {
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

// A Stage is the environment of a command.
type Stage struct {
	Cage                  cage.Cage
	Path                  string           // of the program, see FindCommand
	Stdin, Stdout, Stderr *os.File         // nil: nothing
	Signals               <-chan os.Signal // passed on to it; nil: none
	As                    *Account         // who runs it; nil: the user who runs faultctl
	Limit                 time.Duration    // it is ended after that; zero: never
}

// StartJob starts a command.
func (h *Host) StartJob(st Stage, argv []string) (*Job, error) {
	j := &Job{host: h, cage: st.Cage, ended: make(chan struct{}), begun: h.Now()}
	cmd := &exec.Cmd{Path: st.Path, Args: argv}
	// A nil file must not become an interface that is not nil.
	if st.Stdin != nil {
		cmd.Stdin = st.Stdin
	}
	if st.Stdout != nil {
		cmd.Stdout = st.Stdout
	}
	if st.Stderr != nil {
		cmd.Stderr = st.Stderr
	}
	st.As.become(cmd)
	early := pendingSignals(st.Signals)
	var err error
	j.proc, err = st.Cage.Start(cmd)
	switch {
	case err == nil:
		for _, s := range early {
			j.proc.Signal(s)
		}
	case st.As.mayBecome(err) != nil:
		return nil, st.As.mayBecome(err)
	case errors.Is(err, fs.ErrNotExist):
		return nil, event.Errorf(event.CodeNotFound, "", "%s: not found, or its interpreter is not", argv[0])
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOEXEC):
		return nil, event.Errorf(event.CodeNotExecutable, "", "%s cannot be executed: %w", argv[0], noPath(err))
	default:
		return nil, fmt.Errorf("start %s: %w", argv[0], plain(err))
	}
	go func() {
		j.how, j.lost = j.proc.Wait()
		close(j.ended)
	}()
	return j, nil
}

// pendingSignals returns the signals that arrived before the command was started. The
// command did not get those from the terminal itself, so they are passed on like any
// other.
func pendingSignals(signals <-chan os.Signal) (early []os.Signal) {
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

// Wait passes signals on until the command has ended, and ends the processes
// that it left running. It ends the command when ctx is done, or after limit;
// zero means no limit.
func (j *Job) Wait(ctx context.Context, signals <-chan os.Signal, limit time.Duration) (JobEnd, error) {
	var over, kill <-chan time.Time
	if limit > 0 {
		over = j.host.After(limit)
	}
	stop := ctx.Done()
	end := JobEnd{}
	for running := true; running; {
		select {
		case <-j.ended:
			running = false
		case s := <-signals:
			if _, has := s.(cage.FromTerminal); !has {
				j.proc.Signal(s)
			}
		case <-stop:
			stop = nil
			j.proc.Signal(syscall.SIGTERM)
			kill = time.After(Grace)
		case <-over:
			end.TimedOut = true
			j.proc.Signal(syscall.SIGTERM)
			kill = time.After(Grace)
		case <-kill:
			j.proc.Signal(syscall.SIGKILL)
		}
	}
	end.Took = j.host.Now().Sub(j.begun)
	end.Status, end.How = statusOf(j.how)
	if end.TimedOut {
		end.How = "stopped after " + words.ShortDuration(limit)
		if end.Status == 0 {
			end.Status = 128 + int(syscall.SIGTERM)
		}
	}
	return end, errors.Join(j.lost, j.cage.Empty())
}

// statusOf says how a process ended, as a number and in words.
func statusOf(s syscall.WaitStatus) (status int, how string) {
	if s.Signaled() {
		return 128 + int(s.Signal()), "killed by " + unix.SignalName(s.Signal())
	}
	return s.ExitStatus(), fmt.Sprintf("exit %d", s.ExitStatus())
}
