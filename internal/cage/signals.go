package cage

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// FromTerminal is a signal that the terminal sent, as for Ctrl-C: the command
// has it already, for it is in the same process group.
type FromTerminal syscall.Signal

func (s FromTerminal) String() string { return syscall.Signal(s).String() }

// Signal implements os.Signal.
func (s FromTerminal) Signal() {}

// Relay returns the signals that arrive and are a command's to know. Those of
// the terminal are FromTerminal. Until stop nothing stops this process, see
// StayAwake.
func Relay() (signals <-chan os.Signal, stop func()) {
	in, out := make(chan os.Signal, 8), make(chan os.Signal, 8)
	signal.Notify(in, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	rest := StayAwake()
	done := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-in:
				switch sig := s.(syscall.Signal); {
				case (sig == syscall.SIGINT || sig == syscall.SIGQUIT) && foreground():
					out <- FromTerminal(sig)
				default:
					out <- sig
				}
			case <-done:
				return
			}
		}
	}()
	return out, func() {
		signal.Stop(in)
		rest()
		close(done)
	}
}

// StayAwake undoes Ctrl-Z until rest is called, for all of the process group, such
// as the pipe that reads what is told: packets under a fault cannot wait until
// somebody comes back, and a process that stands still is ended by its dead man's
// timer. Nor does a broken pipe end this process: the write that earned it says so.
func StayAwake() (rest func()) {
	stops, pipe := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(stops, syscall.SIGTSTP)
	signal.Notify(pipe, syscall.SIGPIPE)
	go func() {
		for range stops {
			unix.Kill(0, unix.SIGCONT)
		}
	}()
	return func() {
		signal.Stop(pipe)
		signal.Stop(stops) // none is on its way after it
		close(stops)
	}
}

// foreground reports whether this process is in the foreground of a terminal,
// so that the terminal's signals go to it and to the command alike.
func foreground() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}
