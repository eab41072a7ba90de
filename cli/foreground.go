package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/evidence"
	urfave "github.com/urfave/cli/v2"
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
// nobody reading what it tells. It is nil for any other.
func cutShort(ctx context.Context) error {
	var sig signalled
	var broken outletEnd
	switch cause := context.Cause(ctx); {
	case errors.As(cause, &sig):
		return quietExit(128 + int(sig))
	case errors.As(cause, &broken):
		return broken.exit()
	}
	return nil
}

// untilSignal returns a context that the first signal ends, with a cause of
// type signalled. The second signal ends the process. release must be called.
func (h *host) untilSignal(ctx context.Context) (_ context.Context, release func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals, stop := h.signals()
	done := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() { h.watchSignals(signals, cancel, done) })
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
func (h *host) watchSignals(signals <-chan os.Signal, cancel context.CancelCauseFunc, done <-chan struct{}) {
	var first syscall.Signal
	var came time.Time
	for {
		select {
		case s := <-signals:
			sig, ok := s.(syscall.Signal)
			switch {
			case !ok, sig == first && h.sys.Now().Sub(came) < echo:
			case first == 0:
				first, came = sig, h.sys.Now()
				cancel(signalled(sig))
			default:
				h.quit(128+int(sig), secondSignal(sig))
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
func (h *host) quit(code int, why string) {
	h.leaving.Load().Abandon(event.Code(code), why)
	h.exit(code)
}

// watch calls tick with how far the run is, again and again until it is over:
// each second on a terminal, else each minute.
func (h *host) watch(run *experiment.Run, tick func(gone, left time.Duration)) {
	every := h.progress
	if h.terminal {
		every = time.Second
	}
	if every == 0 {
		return
	}
	for {
		select {
		case <-h.sys.After(every):
		case <-run.Done():
			return
		}
		gone, left := h.sys.Now().Sub(run.Ready()), time.Duration(0)
		if d := run.Plan().Duration(); d > 0 {
			left = max(time.Second, d-gone)
		}
		tick(gone, left)
	}
}

// evidence opens what a command leaves besides what it prints, as its flags say.
func (h *host) evidence(c *urfave.Context, s *experiment.Spec) (*evidence.Evidence, error) {
	cfg := evidence.Config{
		Command: c.Command.HelpName, Pcap: s.Pcap, Reports: s.Reports, Metrics: s.Metrics,
		Now: h.sys.Now, Proc: h.sys.Proc, Warn: h.stderr,
	}
	if h.handed != nil && s.Metrics != "" {
		defer h.handed.Close()
		l, err := net.FileListener(h.handed)
		if err != nil {
			return nil, err
		}
		cfg.Serve = l
	}
	e, err := evidence.Open(cfg)
	if err == nil {
		h.leaving.Store(e)
	}
	return e, err
}

// leave closes the evidence of a command that ends with err, which it returns,
// or else what kept the evidence from being written.
func (h *host) leave(e *evidence.Evidence, run bool, err error) error {
	failed := ""
	if err != nil && !hushed(err) {
		failed = event.Render(err, asFlag)
	}
	for _, lost := range e.Close(event.Code(codeOf(err, run)), failed) {
		if err == nil {
			err = lost
		} else {
			fmt.Fprintf(h.stderr, "faultctl: %v\n", lost)
		}
	}
	return err
}
