package scenario

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/internal/words"
)

// entryRun is an entry and what it has done so far: one run for each pulse.
type entryRun struct {
	EntryResult

	run    *experiment.Run // while one goes on
	beside sync.WaitGroup  // whoever waits for run
}

// startEntry puts an entry to work and returns when it is, or when ctx is done.
func (pl *player) startEntry(ctx context.Context, step Step, cancel context.CancelCauseFunc) error {
	e := pl.entries[step.Fault]
	left := e.plan.Spec.Target.MaxConnections
	if most := left; most > 0 {
		struck := experiment.Chosen(e.Stats)
		if struck >= most {
			e.Skipped++
			pl.watch.Step(pl.sys.Now(), step, fmt.Sprintf("left out: max-connections %d are struck already", most))
			return nil
		}
		left -= struck
	}
	name := e.Entry.Name
	v, err := e.plan.Variant(name, func(s *experiment.Spec) {
		s.Seed = new(pl.Seed + uint64(step.Pulse))
		s.Duration = new(time.Duration(0)) // until the timeline says so
		s.Target.MaxConnections = left
		if step.Percent >= 0 {
			s.Target.Percent = new(step.Percent)
		}
	})
	if err != nil {
		return err
	}
	if pl.hooks.Session != nil {
		pl.hooks.Session(name, pl.starts[name], v)
	}
	pl.starts[name]++
	pl.keep.attend(step.Fault, v)
	v.Observe(experiment.Observer{Event: func(at time.Time, ev event.Event) {
		if ev, tell := inEntry(step.Fault, ev); tell {
			pl.watch.Event(at, step.Fault, ev)
		}
	}})
	pl.watch.Step(pl.sys.Now(), step, "")
	run, err := experiment.Start(ctx, v)
	if err != nil {
		pl.keep.over(step.Fault, nil)
		return err
	}
	e.run = run
	note := ""
	if step.Percent >= 0 {
		note = fmt.Sprintf("%g%% of the connections", step.Percent)
	}
	pl.keep.history.begins(step.Fault, note)
	e.beside.Go(func() {
		if _, err := run.Wait(); err != nil {
			cancel(fmt.Errorf("%s: %w", name, err))
		}
	})
	return nil
}

// stopEntry takes an entry out and returns when everything of it is as before.
func (pl *player) stopEntry(entry int) error {
	e := pl.entries[entry]
	if e.run == nil {
		return nil
	}
	err := e.run.Stop()
	e.beside.Wait()
	pl.keep.history.ends(entry)
	r, _ := e.run.Wait()
	if e.run.Ready().IsZero() {
		pl.keep.over(entry, nil)
	} else {
		e.Stats = e.Stats.Plus(r.Stats)
		e.Took += r.Took
		e.NAT = r.NAT
		pl.keep.over(entry, &r.Stats)
	}
	e.run = nil
	return err
}

// stopAll takes out every entry.
func (pl *player) stopAll() error {
	var errs []error
	for i, e := range pl.entries {
		if err := pl.stopEntry(i); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", e.Entry.Name, err))
		}
	}
	return errors.Join(errs...)
}

// judged is what follows from what the entry's strikes came to.
func (e *EntryResult) judged() experiment.Judgement {
	return e.plan.Spec.Judge(e.Stats, outcome.NoCommand)
}

// unfired says of each fault of an entry that arrived on fewer connections than it
// must that it did. One that was prevented need not.
func (e *EntryResult) unfired() (why []string) {
	must := e.Entry.MustFire.N
	if must == 0 {
		return nil
	}
	if !e.WasActive() {
		return []string{e.Entry.Name + " never became active"}
	}
	for _, f := range e.judged().Faults {
		switch n := experiment.Arrived(f.Stats); {
		case f.Verdict.Exit() != 0:
			why = append(why, e.plan.WhyFault(experiment.Result{Stats: e.Stats, NAT: e.NAT}, f))
		case f.Verdict == outcome.Fired && n < must:
			why = append(why, fmt.Sprintf("%s fired on %s, and must on %d", f.Fault, words.Plural(n, "connection"), must))
		}
	}
	return why
}
