package scenario

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/faultctl/faultctl/experiment/evidence"
)

// errDeadline ends a scenario whose deadline has come.
var errDeadline = errors.New("the deadline has come")

// errUnsteady says that nothing was touched.
var errUnsteady = errors.New("the steady state was not there to begin with: nothing was touched")

// lastGrace is how long a clean end may take once the deadline has come.
const lastGrace = 5 * time.Second

// aborted ends the timeline early because of a probe.
type aborted struct{ probe, why string }

func (a aborted) Error() string { return fmt.Sprintf("the probe %s: %s", a.probe, a.why) }

// player plays a plan.
type player struct {
	*Plan
	watch Watcher
	hooks Hooks
	keep  *keeper
	try   func(context.Context, *Probe) error

	entries []*entryRun
	probes  []*probeRun
	starts  map[string]int // of each name

	began time.Time // the whole of it
	start time.Time // the timeline
}

// Play plays a plan: its phases, its timeline, its probes. It returns when all
// faults have been removed, soon after ctx is done if that comes first; then the
// Result's Err is the cause of ctx, and its Code is experiment.CodeOf of that.
// ev, which may be nil, gets a case for each entry and each probe; Play does not
// close it.
func Play(ctx context.Context, p *Plan, ev *evidence.Evidence, w Watcher, h Hooks) Result {
	pl := &player{Plan: p, watch: w, hooks: h, try: h.Try, starts: map[string]int{}}
	tidy := func() error { return nil }
	if pl.try == nil {
		prober := proberOn(p.sys)
		pl.try, tidy = prober.Try, prober.Close
	}
	for i, e := range p.Entries {
		ev.Spare(e)
		pl.entries = append(pl.entries, &entryRun{EntryResult: EntryResult{Entry: &p.Scenario.Faults[i], MayIdle: p.AllowIdle || p.Scenario.Faults[i].MustFire.N == 0, plan: e}})
	}
	for i := range p.Scenario.Probes {
		probe := &p.Scenario.Probes[i]
		pl.probes = append(pl.probes, &probeRun{ProbeResult: ProbeResult{Probe: probe}, watch: p.Scenario.NewWatch(probe)})
	}
	pl.keep = newKeeper(ev, pl)

	ctx, cancel := context.WithCancelCause(ctx)
	over := make(chan struct{})
	var beside sync.WaitGroup
	beside.Go(func() { pl.watchDeadline(cancel, over) })
	pl.began = p.sys.Now()
	pl.keep.begin()
	w.Started(pl.began)
	err := pl.phases(ctx)
	if left := tidy(); left != nil && err == nil {
		err = fmt.Errorf("end what the probes' commands left behind: %w", left)
	}
	r := pl.result(err)
	pl.keep.conclude(&r)
	w.Ended(p.sys.Now(), &r)
	close(over)
	cancel(nil)
	beside.Wait()
	return r
}

// watchDeadline ends the scenario at its deadline, and ends the process if that
// does not help.
func (pl *player) watchDeadline(cancel context.CancelCauseFunc, over <-chan struct{}) {
	select {
	case <-over:
		return
	case <-pl.sys.After(time.Duration(pl.Scenario.Deadline)):
		cancel(errDeadline)
	}
	select {
	case <-over:
	case <-pl.sys.After(lastGrace):
		if pl.hooks.Stuck != nil {
			pl.hooks.Stuck(fmt.Sprintf("the deadline of %s has come, and the scenario does not end: this process ends, and the kernel takes its rules out", pl.Scenario.Deadline))
		}
	}
}

// phases plays before, during and after. The error is a failure of faultctl,
// an abort, or the cause of ctx.
func (pl *player) phases(ctx context.Context) error {
	if err := pl.before(ctx); err != nil {
		return err
	}
	pl.watch.Phase(pl.sys.Now(), During)
	err := pl.during(ctx)
	var abort aborted
	if err != nil && !errors.As(err, &abort) {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	pl.after(ctx)
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return err
}

// before asks every probe once, all at the same time.
func (pl *player) before(ctx context.Context) error {
	all := pl.in(Before)
	if len(all) == 0 {
		return nil
	}
	pl.watch.Phase(pl.sys.Now(), Before)
	var wg sync.WaitGroup
	for _, p := range all {
		wg.Go(func() { p.Before.Err, _ = pl.ask(ctx, p, Before, 0, true) })
	}
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, p := range all {
		if p.Before.Err != nil {
			return errUnsteady
		}
	}
	return nil
}

// during plays the timeline with the probes beside it, until it is over, a probe
// aborts it, or a fault breaks.
func (pl *player) during(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	pl.start = pl.sys.Now()
	var beside sync.WaitGroup
	for _, p := range pl.in(During) {
		beside.Go(func() { pl.keepAsking(ctx, p, cancel) })
	}
	beside.Go(func() { pl.keepTelling(ctx) })
	if pl.keep.ev != nil {
		beside.Go(func() { pl.sample(ctx) })
	}
	err := pl.timeline(ctx, cancel)
	if err == nil {
		err = pl.sleep(ctx, time.Duration(pl.Scenario.Duration))
	}
	cause := context.Cause(ctx)
	cancel(nil)
	if stopped := pl.stopAll(); err == nil {
		err = stopped
	}
	beside.Wait()
	if cause != nil {
		return cause
	}
	return err
}

// timeline carries out the steps of the timeline at their times.
func (pl *player) timeline(ctx context.Context, cancel context.CancelCauseFunc) error {
	for _, step := range pl.Timeline() {
		if err := pl.sleep(ctx, step.At); err != nil {
			return err
		}
		e := pl.entries[step.Fault]
		var err error
		switch step.Do {
		case Start:
			err = pl.startEntry(ctx, step, cancel)
		case Stop:
			if e.run != nil {
				pl.watch.Step(pl.sys.Now(), step, "")
			}
			err = pl.stopEntry(step.Fault)
		case Share:
			if e.run != nil {
				pl.watch.Step(pl.sys.Now(), step, "")
				err = e.run.SetShare(step.Percent / 100)
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", e.Entry.Name, err)
		}
	}
	return nil
}

// sleep waits for a moment of the timeline.
func (pl *player) sleep(ctx context.Context, until time.Duration) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	left := until - pl.sys.Now().Sub(pl.start)
	if left <= 0 {
		return nil
	}
	select {
	case <-pl.sys.After(left):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// keepTelling reports the progress of the timeline at intervals until it has
// ended.
func (pl *player) keepTelling(ctx context.Context) {
	if pl.hooks.TickEvery == 0 {
		return
	}
	for {
		select {
		case <-pl.sys.After(pl.hooks.TickEvery):
		case <-ctx.Done():
			return
		}
		now := pl.sys.Now()
		gone := now.Sub(pl.start)
		pl.watch.Tick(now, pl.keep.snapshot(), gone, max(0, time.Duration(pl.Scenario.Duration)-gone))
	}
}
