package cage

import (
	"os"
	"os/signal"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// FromTerminal is a signal from the terminal, as for Ctrl-C. The command gets it
// directly, because it is in the same process group.
type FromTerminal syscall.Signal

func (s FromTerminal) String() string { return syscall.Signal(s).String() }

// Signal implements os.Signal.
func (s FromTerminal) Signal() {}

// hangupIgnored says that this process began with SIGHUP ignored, as under nohup: then
// neither it nor its command reacts to one.
var hangupIgnored = signal.Ignored(syscall.SIGHUP)

// Heeded leaves out SIGHUP where it was ignored when this process began. Waiting for a
// signal undoes that it is ignored.
func Heeded(signals ...os.Signal) []os.Signal {
	return slices.DeleteFunc(signals, func(s os.Signal) bool { return s == syscall.SIGHUP && hangupIgnored })
}

// Relay returns the arriving signals that are for the command. Those from the
// terminal are FromTerminal. Until stop is called, nothing stops this process,
// see StayAwake.
func Relay() (signals <-chan os.Signal, stop func()) {
	in, out := make(chan os.Signal, 8), make(chan os.Signal, 8)
	tty, err := os.Open("/dev/tty") // now: a run gives up the right to open it
	if err != nil {
		tty = nil
	}
	signal.Notify(in, Heeded(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)...)
	allowStop := StayAwake()
	done := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-in:
				switch sig := s.(syscall.Signal); {
				case (sig == syscall.SIGINT || sig == syscall.SIGQUIT) && foreground(tty):
					out <- FromTerminal(sig)
				default:
					out <- sig
				}
			case <-done:
				tty.Close() // does nothing if it is nil
				return
			}
		}
	}()
	return out, func() {
		signal.Stop(in)
		allowStop()
		close(done)
	}
}

// StayAwake undoes Ctrl-Z until allowStop is called, for the whole process group,
// including programs that read faultctl's output: packets under a fault cannot
// wait, and the watchdog kills a process that is stopped. A broken pipe
// does not end this process either: the write returns an error.
func StayAwake() (allowStop func()) {
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

// foreground reports whether this process is in the foreground of its terminal, so
// that signals from the terminal reach both it and the command. tty is nil if it has
// none.
func foreground(tty *os.File) bool {
	if tty == nil {
		return false
	}
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}
