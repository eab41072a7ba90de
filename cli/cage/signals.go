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
// the terminal are FromTerminal. Ctrl-Z is undone: packets that are under a
// fault cannot wait until somebody comes back.
func Relay() (signals <-chan os.Signal, stop func()) {
	in, out := make(chan os.Signal, 8), make(chan os.Signal, 8)
	signal.Notify(in, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTSTP)
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE) // the write that earned it says so
	done := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-in:
				switch sig := s.(syscall.Signal); {
				case sig == syscall.SIGTSTP:
					unix.Kill(0, unix.SIGCONT)
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
		signal.Stop(pipe)
		close(done)
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
