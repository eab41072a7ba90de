package injector

import "context"

// Start puts the rules of cfg in and returns when they are there: the very next
// matching packet is judged. The run goes on until ctx is done, Stop is called, or a
// queue breaks. Then it takes everything out again: first what is held leaves, within
// 0.4 s, then the rules that divert go, then every packet that still waits goes on its
// way, and the queue is closed last, so no packet is lost by the end of a run. The error
// is of a run that did not begin, and nothing is left of it; it wraps one of the
// package's errors where it can.
//
// cfg.OnEvent is told of Ready as of any other event, before Start returns.
func Start(ctx context.Context, cfg Config) (*Injector, error) {
	i, err := newInjector(cfg)
	if err != nil {
		return nil, err
	}
	if err := i.start(ctx); err != nil {
		return nil, err
	}
	return i, nil
}

// start is Start of an injector that newInjector made.
func (i *Injector) start(ctx context.Context) error {
	ctx, i.stop = context.WithCancel(ctx)
	i.done = make(chan struct{})
	ready := make(chan struct{})
	begun := func() { close(ready) }
	if tell := i.cfg.OnEvent; tell != nil {
		i.cfg.OnEvent = func(ev Event) {
			tell(ev)
			if ev.Kind == Ready { // of which there is one
				close(ready)
			}
		}
		begun = func() {}
	}
	go func() {
		defer close(i.done)
		i.err = i.run(ctx, begun)
	}()
	select {
	case <-ready:
		return nil
	case <-i.done: // it did not begin, or was ended at once
		i.stop()
		return i.err
	}
}

// Stop ends a run that Start began, cleanly, and returns what Wait does. Any
// goroutine may call it, more than once.
func (i *Injector) Stop() error {
	i.stop()
	return i.Wait()
}

// Done is closed when a run that Start began has ended and everything is as it
// was before.
func (i *Injector) Done() <-chan struct{} { return i.done }

// Wait waits until the run has ended, and returns why it ended by itself: nil if
// ctx or Stop ended it. Any goroutine may call it, more than once.
func (i *Injector) Wait() error {
	<-i.done
	return i.err
}

// Ruleset is what Start would put in for cfg, in nft syntax, with the queue that
// it would try first. It touches nothing. The error is an ErrConfig.
func Ruleset(cfg Config) (string, error) {
	i, err := newInjector(cfg)
	if err != nil {
		return "", err
	}
	return i.Ruleset(), nil
}

// Preflight says what would keep Start from beginning with cfg: a bad
// configuration, a missing permission or feature of the kernel. It leaves
// nothing behind.
func Preflight(cfg Config) error {
	i, err := newInjector(cfg)
	if err != nil {
		return err
	}
	return i.preflight()
}
