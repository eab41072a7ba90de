package cli

import (
	"context"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/faultctl/faultctl/injector"
)

// teller says what happens in a run, in one of the output formats. Several
// goroutines call it.
type teller interface {
	started(p *plan)
	event(ev injector.Event)
	target(c targetChange)
	tick(s injector.Snapshot, gone, left time.Duration) // how far it is; left is 0 without an end
	ended(s injector.Snapshot, took time.Duration)
}

// errTimeUp ends a run whose duration is over.
var errTimeUp = errors.New("the time is up")

// signalled ends a run that a signal stopped.
type signalled syscall.Signal

func (s signalled) Error() string { return syscall.Signal(s).String() }

// outcome is what became of a run that got as far as being ready.
type outcome struct {
	stats  injector.Snapshot
	took   time.Duration // since it was ready
	record *record       // what was taken down; nil if the plan has no evidence
}

// strike carries out a plan in the foreground: until its time is up, nobody
// reads what it tells, or a signal arrives, which all end it cleanly. A second
// signal ends the process at once.
func (h *host) strike(ctx context.Context, p *plan) error {
	ctx, release := h.untilSignal(ctx)
	defer release()
	ctx, out := h.untilBroken(ctx)
	o, err := h.conduct(ctx, p, h.teller(p, out), nil, nil)
	p.evidence.add(p.struck(o, err), o.record)
	if err != nil {
		return err
	}
	if err := cutShort(ctx); err != nil {
		return err
	}
	if p.expect && idle(o.stats) {
		return quietExit(exitNotFired)
	}
	return nil
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

// conduct runs the faults of a plan until ctx is done, its duration is over, or
// during has returned. first, if it is not nil, is called when it is told that the
// run has started; if it fails nothing is touched. during is called once the rules
// are in, with a context that ends with the run; nil means that there is nothing
// to wait for but the time. It returns when everything is as before. The error is
// the run's, else that of first or during.
func (h *host) conduct(ctx context.Context, p *plan, tell teller, first func() error, during func(context.Context) error) (outcome, error) {
	ready := &moment{c: make(chan struct{})} // the clock runs, even if nobody reads what is told
	told := &moment{c: make(chan struct{})}  // what during tells comes after it
	at := h.replays.again(p.name, &p.cfg)
	tell, rec := p.evidence.attend(p, h.replays.attend(at, tell))
	p.cfg.OnEvent = func(ev injector.Event) {
		if ev.Kind == injector.Ready {
			ready.set(ev.Time)
			defer told.set(ev.Time)
		}
		tell.event(ev)
	}
	run, err := h.session(p, tell.target)
	if err != nil {
		return outcome{record: rec}, err
	}
	p.evidence.watch(run)
	rec.watch(run)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{})
	var watchers sync.WaitGroup

	tell.started(p)
	if first != nil {
		if err := first(); err != nil {
			return outcome{record: rec}, err
		}
	}
	if p.startAfter > 0 {
		select {
		case <-h.after(p.startAfter):
		case <-ctx.Done():
		}
	}
	var failed error
	if ctx.Err() == nil {
		watchers.Go(func() { h.watchClock(p, run, tell, ready, cancel, done) })
		if during != nil {
			watchers.Go(func() {
				select {
				case <-told.c:
				case <-done:
				}
				if told.isSet() { // however soon the run ended after that
					failed = during(ctx)
					cancel(nil)
				}
			})
		}
		err = run.Run(ctx)
	}
	close(done)
	cancel(nil)
	watchers.Wait()
	if err != nil && !ready.isSet() {
		return outcome{record: rec}, err // nothing has happened: there is nothing to sum up
	}
	o := outcome{stats: run.Stats(), took: ready.since(h.now()), record: rec}
	h.askNAT(p, o.stats)
	p.evidence.ended(o.stats)
	tell.ended(o.stats, o.took)
	if err == nil {
		err = failed
	}
	return o, err
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

// echo is how soon after a signal the same one is no second one: timeout(1) and
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
			case !ok, sig == first && h.now().Sub(came) < echo:
			case first == 0:
				first, came = sig, h.now()
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

// watchClock ends the run when its time is up, counted from the moment at
// which it was ready, and keeps the live line fresh.
func (h *host) watchClock(p *plan, run session, tell teller, ready *moment, cancel context.CancelCauseFunc, done <-chan struct{}) {
	select {
	case <-ready.c:
	case <-done:
		return
	}
	var up <-chan time.Time
	if p.duration > 0 {
		up = h.after(p.duration)
	}
	var tick <-chan time.Time
	for {
		switch {
		case p.json:
		case h.terminal:
			tick = h.after(time.Second)
		case h.progress > 0 && tick == nil:
			tick = h.after(h.progress)
		}
		select {
		case <-up:
			cancel(errTimeUp)
			return
		case <-tick:
			gone, left := ready.since(h.now()), time.Duration(0)
			if p.duration > 0 {
				left = max(time.Second, p.duration-gone)
			}
			tell.tick(run.Stats(), gone, left)
			tick = nil
		case <-done:
			return
		}
	}
}

// idle reports whether a fault never fired.
func idle(s injector.Snapshot) bool {
	for _, r := range s.Rules {
		for _, f := range r.Faults {
			if f.Fired == 0 {
				return true
			}
		}
	}
	return len(s.Rules) == 0
}

// moment is a time that comes once. c is closed then.
type moment struct {
	once sync.Once
	c    chan struct{}
	at   time.Time
}

func (m *moment) set(at time.Time) {
	m.once.Do(func() {
		m.at = at
		close(m.c)
	})
}

func (m *moment) isSet() bool {
	select {
	case <-m.c:
		return true
	default:
		return false
	}
}

// since returns the time from the moment until now, 0 if it has not come.
func (m *moment) since(now time.Time) time.Duration {
	if !m.isSet() {
		return 0
	}
	return now.Sub(m.at)
}
