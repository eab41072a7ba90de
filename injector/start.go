package injector

import "context"

// Start installs the rules of cfg and returns when they are installed: the very next
// matching packet is judged. The run goes on until ctx is done, Stop is called, or a
// queue fails. Then it removes everything again: first held packets leave, within 0.4
// s, then the rules that divert packets are removed, then every packet that is still
// queued is accepted, and last the queue is closed. So the end of a run loses no
// packet. If Start returns an error the run has not begun, and nothing is left of it;
// the error wraps one of the package's errors where it can.
//
// cfg.OnEvent gets Ready like any other event, before Start returns.
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

// start is Start for an injector that newInjector has made.
func (i *Injector) start(ctx context.Context) error {
	ctx, i.stop = context.WithCancel(ctx)
	i.done = make(chan struct{})
	ready := make(chan struct{})
	begun := func() { close(ready) }
	if tell := i.cfg.OnEvent; tell != nil {
		i.cfg.OnEvent = func(ev Event) {
			tell(ev)
			if ev.Kind == Ready { // there is only one
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
	case <-i.done: // it did not begin, or ended at once
		i.stop()
		return i.err
	}
}

// Stop ends a run cleanly, and returns what Wait returns. Any goroutine may call it,
// more than once.
func (i *Injector) Stop() error {
	i.stop()
	return i.Wait()
}

// Done returns a channel that is closed when the run has ended and everything is as it
// was before.
func (i *Injector) Done() <-chan struct{} { return i.done }

// Wait waits until the run has ended, and returns why it ended by itself: nil if ctx or
// Stop ended it. Any goroutine may call it, more than once.
func (i *Injector) Wait() error {
	<-i.done
	return i.err
}

// Ruleset returns the rules that Start would install for cfg, in nft syntax, with the
// queue number that it would try first. It touches nothing. The error is an ErrConfig.
func Ruleset(cfg Config) (string, error) {
	i, err := newInjector(cfg)
	if err != nil {
		return "", err
	}
	return i.Ruleset(), nil
}

// Preflight returns what would keep Start from beginning with cfg: a bad configuration,
// a missing permission, or a missing feature of the kernel. It leaves nothing behind.
func Preflight(cfg Config) error {
	i, err := newInjector(cfg)
	if err != nil {
		return err
	}
	return i.preflight()
}
