package cli

import (
	"errors"
	"io"
	"sync"
	"syscall"

	"github.com/faultctl/faultctl/experiment/event"
)

// stdoutWatch is standard output, watched for failed writes. A failed write ends
// the run: a reader that stops after ten lines (| head) wants no more, and a
// recording with a gap is useless.
type stdoutWatch struct {
	w      io.Writer
	once   sync.Once
	broken func(error) // called with the first error
}

// stdoutError ends a run whose standard output is broken.
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

// exitError is what a command returns whose output was cut off. A shell sees the
// status of a program that died of SIGPIPE if the reader has gone.
func (e stdoutError) exitError() error {
	if errors.Is(e.err, syscall.EPIPE) {
		return &status{128 + int(syscall.SIGPIPE), e}
	}
	return event.Failuref("", "%w", e)
}
