package injector

import (
	"context"
	"sync"
)

// Start puts the rules of cfg in and returns when they are there: the very next
// matching packet is judged. The run goes on until ctx is done, Stop is called,
// or a queue breaks, and ends cleanly: see Run. The error is of a run that did
// not begin, and nothing is left of it; it wraps one of the package's errors
// where it can.
//
// cfg.OnEvent is told of Ready as of any other event.
func Start(ctx context.Context, cfg Config) (*Injector, error) {
	ready := make(chan struct{})
	var once sync.Once
	tell := cfg.OnEvent
	cfg.OnEvent = func(ev Event) {
		if ev.Kind == Ready {
			once.Do(func() { close(ready) })
		}
		if tell != nil {
			tell(ev)
		}
	}
	i, err := New(cfg)
	if err != nil {
		return nil, err
	}
	ctx, i.stop = context.WithCancel(ctx)
	i.done = make(chan struct{})
	go func() {
		defer close(i.done)
		i.err = i.Run(ctx)
	}()
	select {
	case <-ready:
		return i, nil
	case <-i.done:
	}
	i.stop()
	if i.err != nil {
		return nil, i.err
	}
	return i, nil // it was ended at once
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
// ctx or Stop ended it.
func (i *Injector) Wait() error {
	<-i.done
	return i.err
}

// Ruleset is what Start would put in for cfg, in nft syntax, with the queue that
// it would try first. It touches nothing. The error is an ErrConfig.
func Ruleset(cfg Config) (string, error) {
	i, err := New(cfg)
	if err != nil {
		return "", err
	}
	return i.Ruleset(), nil
}

// Preflight says what would keep Start from beginning with cfg: a bad
// configuration, a missing permission or feature of the kernel. It leaves
// nothing behind.
func Preflight(cfg Config) error {
	i, err := New(cfg)
	if err != nil {
		return err
	}
	return i.Preflight()
}
