package cli

import (
	"errors"
	"io"
	"sync"
	"syscall"

	"github.com/faultctl/faultctl/experiment/event"
)

// stdoutWatch is where a run tells what happens. A run that can no longer tell
// anybody ends: somebody who reads ten lines and goes (| head) wants no more,
// and a record with a hole in it is none.
type stdoutWatch struct {
	w      io.Writer
	once   sync.Once
	broken func(error) // told of the first write that failed
}

// stdoutError ends a run whose outlet is broken.
type stdoutError struct{ err error }

func (e stdoutError) Error() string { return "write standard output: " + aboutFile(e.err).Error() }

// Unwrap is the error of the write, and the error with the exit code that it
// earns.
func (e stdoutError) Unwrap() []error {
	code := event.CodeFailure
	if errors.Is(e.err, syscall.EPIPE) {
		code = event.Code(128 + int(syscall.SIGPIPE))
	}
	return []error{e.err, event.Errorf(code, "", "%s", e.Error())}
}

func (o *stdoutWatch) Write(b []byte) (int, error) {
	n, err := o.w.Write(b)
	if err != nil {
		o.once.Do(func() { o.broken(stdoutError{err}) })
	}
	return n, err
}

// exit is what a run that ended so returns.
func (e stdoutError) exit() error {
	if errors.Is(e.err, syscall.EPIPE) {
		return e.exitError()
	}
	return event.Failuref("", "%s", e.Error()).WithAdvice("The run was ended cleanly, because its output could not be written.")
}

// exitError is what a command returns that could not tell all. To a shell, a reader
// who has gone looks like the death by SIGPIPE of any other program.
func (e stdoutError) exitError() error {
	if errors.Is(e.err, syscall.EPIPE) {
		return &status{128 + int(syscall.SIGPIPE), e}
	}
	return event.Failuref("", "%w", e)
}
