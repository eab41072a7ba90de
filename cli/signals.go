package cli

import (
	"context"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
	"golang.org/x/sys/unix"
)

// signalled ends a run that a signal stopped.
type signalled syscall.Signal

func (s signalled) Error() string { return syscall.Signal(s).String() }

// Unwrap is the error with the exit code that the signal earns.
func (s signalled) Unwrap() error {
	return event.Errorf(event.Code(128+int(s)), "", "ended by a signal: %s", s.Error())
}

// cutShort is what a command returns whose context was ended by a signal, or by
// broken standard output. It is nil for any other.
func cutShort(ctx context.Context) error {
	var sig signalled
	var broken stdoutError
	switch cause := context.Cause(ctx); {
	case errors.As(cause, &sig):
		return quietExit(128 + int(sig))
	case errors.As(cause, &broken):
		return broken.exit()
	}
	return nil
}

// untilSignal returns a context that the first signal cancels, with a cause of
// type signalled. The second signal ends the process. release must be called.
func (inv *invocation) untilSignal(ctx context.Context) (_ context.Context, release func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals, stop := inv.signals()
	done := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() { inv.watchSignals(signals, cancel, done) })
	return ctx, func() {
		close(done)
		watcher.Wait()
		stop()
		cancel(nil)
	}
}

// echo is how soon after a signal the same one is not a second one: timeout(1) and
// others send each to the process and then to its group.
const echo = 200 * time.Millisecond

// watchSignals ends the run at the first signal and the process at the second.
func (inv *invocation) watchSignals(signals <-chan os.Signal, cancel context.CancelCauseFunc, done <-chan struct{}) {
	var first syscall.Signal
	var came time.Time
	for {
		select {
		case s := <-signals:
			sig, ok := s.(syscall.Signal)
			switch {
			case !ok, sig == first && inv.sys.Now().Sub(came) < echo:
			case first == 0:
				first, came = sig, inv.sys.Now()
				inv.finishing()
				cancel(signalled(sig))
			default:
				inv.quit(128+int(sig), secondSignal(sig))
				return
			}
		case <-done:
			return
		}
	}
}

// secondSignal says why a process ends at once.
func secondSignal(sig syscall.Signal) string {
	return "ended by a second signal, " + unix.SignalName(sig) + ", before a clean end; the kernel takes the rules out"
}

// quit ends the process at once, because of a second signal or because nothing
// else helps, and leaves what is known first. The kernel takes the rules out.
func (inv *invocation) quit(code int, why string) {
	inv.leaving.Load().Abandon(event.Code(code), why)
	inv.exit(code)
}
