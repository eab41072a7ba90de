package cli

import (
	"context"
	"errors"
	"io"
	"sync"
	"syscall"
)

// outlet is where a run tells what happens. A run that can no longer tell
// anybody ends: somebody who reads ten lines and goes (| head) wants no more,
// and a record with a hole in it is none.
type outlet struct {
	w      io.Writer
	once   sync.Once
	broken func(error) // told of the first write that failed
}

// outletEnd ends a run whose outlet is broken.
type outletEnd struct{ err error }

func (e outletEnd) Error() string { return "write standard output: " + errnoFree(e.err).Error() }
func (e outletEnd) Unwrap() error { return e.err }

func (o *outlet) Write(b []byte) (int, error) {
	n, err := o.w.Write(b)
	if err != nil {
		o.once.Do(func() { o.broken(outletEnd{err}) })
	}
	return n, err
}

// untilBroken returns an outlet to standard output, and a context that ends
// when it breaks, with a cause of type outletEnd.
func (h *host) untilBroken(ctx context.Context) (context.Context, *outlet) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &outlet{w: h.stdout, broken: cancel}
}

// exit is what a run that ended so returns.
func (e outletEnd) exit() error {
	err := e.untold()
	err.advice = "The run has ended, cleanly: nobody would have known what it did."
	return err
}

// untold is what a command returns that could not tell all. To a shell, a reader
// who has gone looks like the death by SIGPIPE of any other program.
func (e outletEnd) untold() *exitError {
	if errors.Is(e.err, syscall.EPIPE) {
		return &exitError{code: 128 + int(syscall.SIGPIPE), err: e, quiet: true}
	}
	return &exitError{code: exitFailure, err: e}
}
