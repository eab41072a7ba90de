package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/faultctl/faultctl/experiment/scenario"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
)

// act is an entry of the scenario's faults and what it has done so far.
type act struct {
	entry *scenario.Fault
	plan  *plan
	sum   injector.Snapshot // of the sessions that are over
	ready time.Duration     // how long it was at work

	run     session // while one is
	stop    context.CancelFunc
	ended   chan error
	live    time.Time // since when it is at work
	skipped int       // pulses left out because max-connections were struck before
}

// timeline does what the timeline says, when it says so.
func (st *staging) timeline(ctx context.Context, cancel context.CancelCauseFunc) error {
	for _, step := range st.s.Timeline() {
		if err := st.sleep(ctx, step.At); err != nil {
			return err
		}
		a := st.acts[step.Fault]
		var err error
		switch step.Do {
		case scenario.Start:
			err = st.begin(ctx, step, cancel)
		case scenario.Stop:
			if a.run != nil {
				st.tell.step(step, a, "")
			}
			err = st.end(step.Fault)
		case scenario.Share:
			if a.run != nil {
				st.tell.step(step, a, "")
				err = a.run.SetShare(0, step.Percent/100)
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", a.entry.Name, err)
		}
	}
	return nil
}

// begin puts a fault to work and returns when it is.
func (st *staging) begin(ctx context.Context, step scenario.Step, cancel context.CancelCauseFunc) error {
	a := st.acts[step.Fault]
	cfg := a.plan.cfg
	cfg.Rules = slices.Clone(cfg.Rules)
	pick := &cfg.Rules[0].Pick
	if step.Percent >= 0 {
		pick.Share = target.ShareOf(step.Percent / 100)
	}
	if struck := a.struck(); pick.Max > 0 {
		if struck >= pick.Max {
			a.skipped++
			st.tell.step(step, a, fmt.Sprintf("left out: max-connections %d are struck already", pick.Max))
			return nil
		}
		pick.Max -= struck
	}
	cfg.Seed += uint64(step.Pulse)
	again := st.h.replays.again(a.entry.Name, &cfg)
	ready := make(chan struct{})
	var once sync.Once
	cfg.OnEvent = func(ev injector.Event) {
		st.h.replays.saw(again, ev)
		ev.Rule = step.Fault
		st.leave.event(step.Fault, ev)
		st.tell.event(ev)
		if ev.Kind == injector.Ready {
			once.Do(func() { close(ready) })
		}
	}
	st.leave.attend(step.Fault, &cfg)
	p := *a.plan
	p.cfg = cfg
	run, err := st.h.session(&p, st.tell.target)
	if err != nil {
		return err
	}
	st.leave.begun(step.Fault, run)
	st.tell.step(step, a, "")
	runs, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		err := run.Run(runs)
		if err != nil {
			cancel(fmt.Errorf("%s: %w", a.entry.Name, err))
		}
		ended <- err
	}()
	a.run, a.stop, a.ended = run, stop, ended
	select {
	case <-ready:
		a.live = st.h.now()
	case <-ctx.Done(): // what ended it is said by whoever asked for it
	}
	return nil
}

// struck is how many connections were chosen so far.
func (a *act) struck() uint64 {
	return chosenIn(a.sum)
}

// end takes a fault out and returns when everything of it is as before.
func (st *staging) end(fault int) error {
	a := st.acts[fault]
	if a.run == nil {
		return nil
	}
	a.stop()
	err := <-a.ended
	stats := a.run.Stats()
	a.sum = a.sum.Plus(stats)
	st.leave.over(fault, stats)
	if !a.live.IsZero() {
		a.ready += st.h.now().Sub(a.live)
	}
	a.run, a.live = nil, time.Time{}
	return err
}

// stopAll takes out every fault.
func (st *staging) stopAll() error {
	var errs []error
	for i, a := range st.acts {
		if err := st.end(i); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", a.entry.Name, err))
		}
	}
	return errors.Join(errs...)
}
