package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/faultctl/faultctl/experiment/scenario"
	"github.com/urfave/cli/v2"
)

// errDeadline ends a scenario whose deadline has come.
var errDeadline = errors.New("the deadline has come")

// lastGrace is how long a clean end may take once the deadline has come. Then
// the process ends as it is, and the kernel takes the rules out.
const lastGrace = 5 * time.Second

// aborted ends the timeline early because of a probe.
type aborted struct{ probe, why string }

func (a aborted) Error() string { return fmt.Sprintf("the probe %s: %s", a.probe, a.why) }

// staging is a scenario on its way.
type staging struct {
	h     *host
	s     *scenario.Scenario
	file  string
	seed  uint64
	again string // one command line that repeats it
	tell  sceneTeller
	acts  []*act
	asked []*asked
	idle  bool // a fault that never fired is no failure
	json  bool // it is told in events
	leave *sceneEvidence
	why   []string // what there is to say of how it ended

	began time.Time // the whole of it
	start time.Time // the timeline
}

// asked is a probe and what it has shown so far.
type asked struct {
	probe *scenario.Probe
	watch *scenario.Watch
	begun time.Time // of the first try
	took  time.Duration

	before, after error // why it failed there
	tried         [3]bool
	recovered     time.Duration // how long it took afterwards
}

// scenarioRun is faultctl scenario run.
func (h *host) scenarioRun(c *cli.Context) (err error) {
	files, err := scenarioFiles(c, 1)
	if err != nil {
		return err
	}
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	s, err := h.readScenario(c.Context, files[0])
	if err != nil {
		return problemsError(err)
	}
	seed, err := h.effectiveSeed(c, s)
	if err != nil {
		return err
	}
	if err := noneEmpty(c); err != nil {
		return err
	}
	st := &staging{h: h, s: s, file: files[0], seed: seed, idle: c.Bool("allow-idle"), json: asJSON}
	st.again = st.repeat()
	if !c.Bool("dry-run") {
		var e *evidence
		if e, err = h.evidence(c); err != nil {
			return err
		}
		e.named(st.again, seed)
		st.leave = newSceneEvidence(e, st)
		defer func() { err = e.close(err) }() // what keeps it from beginning is in the report too
	}
	plans, err := h.scenarioPlans(c, s, seed)
	if err != nil {
		return err
	}
	defer closePlans(plans)
	for i := range s.Faults {
		if st.leave != nil {
			st.leave.spare(plans[i])
		}
		st.acts = append(st.acts, &act{entry: &s.Faults[i], plan: plans[i]})
	}
	for i := range s.Probes {
		st.asked = append(st.asked, &asked{probe: &s.Probes[i], watch: s.NewWatch(&s.Probes[i])})
	}
	ctx, out := h.untilBroken(c.Context)
	h.stdout = out
	st.tell = h.sceneTeller(st, asJSON)
	if c.Bool("dry-run") {
		return h.rehearse(c, st)
	}
	if err := st.preflight(); err != nil {
		return err
	}
	st.leave.begins(st)
	return st.leave.conclude(st, st.play(ctx))
}

// preflight finds out now what would keep a fault from beginning, perhaps
// minutes after the others.
func (st *staging) preflight() error {
	for i, a := range st.acts {
		run, err := st.h.start(a.plan.cfg)
		if err != nil {
			return inFile(st.s, i, err)
		}
		if p, ok := run.(interface{ Preflight() error }); ok {
			if err := p.Preflight(); err != nil {
				return fmt.Errorf("%s: %w", a.entry.Name, err)
			}
		}
	}
	return nil
}

func (st *staging) repeat() string {
	line := "faultctl scenario run " + quote(st.file) + fmt.Sprintf(" --seed %d", st.seed)
	if st.idle {
		line += " --allow-idle"
	}
	return line
}

// play carries the scenario out, and returns when everything is as before.
func (st *staging) play(ctx context.Context) error {
	ctx, release := st.h.untilSignal(ctx)
	defer release()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	over := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() { st.watchDeadline(cancel, over) })
	defer watch.Wait()
	defer close(over)

	st.began = st.h.now()
	st.tell.started()
	err := st.phases(ctx)
	if left := st.h.askedAll(); left != nil && err == nil {
		err = fmt.Errorf("end what the probes' commands left behind: %w", left)
	}
	var broken outletEnd
	if errors.As(err, &broken) {
		err = broken.exit()
	}
	code, why := st.verdict(ctx, err)
	st.why = why
	st.tell.ended(code, why, err)
	switch {
	case code == exitOK:
		return nil
	case err != nil && code == exitCode(err) && !errors.Is(err, errDeadline):
		return err // faultctl's own, to be reported as any
	}
	return quietExit(code)
}

// watchDeadline ends the scenario when its deadline has come, and the process
// if that does not help.
func (st *staging) watchDeadline(cancel context.CancelCauseFunc, over <-chan struct{}) {
	select {
	case <-over:
		return
	case <-st.h.after(time.Duration(st.s.Deadline)):
		cancel(errDeadline)
	}
	select {
	case <-over:
	case <-st.h.after(lastGrace):
		why := fmt.Sprintf("the deadline of %s has come, and the scenario does not end: this process ends, and the kernel takes its rules out", shortly(st.s.Deadline))
		fmt.Fprintf(st.h.stderr, "faultctl: %s\n", why)
		st.h.quit(exitFailure, why)
	}
}

// phases plays before, during and after. The error is what kept faultctl from
// going on, an abort, or what ended ctx.
func (st *staging) phases(ctx context.Context) error {
	if err := st.before(ctx); err != nil {
		return err
	}
	st.tell.phase(scenario.During)
	err := st.during(ctx)
	var abort aborted
	if err != nil && !errors.As(err, &abort) {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	st.after(ctx)
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return err
}

// errUnsteady says that nothing was touched.
var errUnsteady = errors.New("the steady state was not there to begin with: nothing was touched")

// before asks every probe once, all at the same time.
func (st *staging) before(ctx context.Context) error {
	all := st.in(scenario.Before)
	if len(all) == 0 {
		return nil
	}
	st.tell.phase(scenario.Before)
	var wg sync.WaitGroup
	for _, a := range all {
		wg.Go(func() { a.before, _ = st.ask(ctx, a, scenario.Before, 0, true) })
	}
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, a := range all {
		if a.before != nil {
			return errUnsteady
		}
	}
	return nil
}

// in lists the probes that are asked in a phase.
func (st *staging) in(ph scenario.Phase) (all []*asked) {
	for _, a := range st.asked {
		if a.probe.In(ph) {
			all = append(all, a)
		}
	}
	return all
}

// ask asks a probe once and tells of it. It reports false if the run ended
// meanwhile, which says nothing about the service. last is whether there will
// be no further try in this phase.
func (st *staging) ask(ctx context.Context, a *asked, ph scenario.Phase, since time.Duration, last bool) (err error, counts bool) {
	began := st.h.now()
	if a.begun.IsZero() {
		a.begun = began
	}
	err = st.h.ask(ctx, a.probe)
	took := st.h.now().Sub(began)
	if err != nil && ctx.Err() != nil {
		return nil, false
	}
	a.took = st.h.now().Sub(a.begun)
	a.tried[slices.Index([]scenario.Phase{scenario.Before, scenario.During, scenario.After}, ph)] = true
	st.tell.probe(a, ph, took, since, err, last)
	return err, true
}

// during plays the timeline with the probes beside it, until it is over, a
// probe aborts it, or a fault breaks.
func (st *staging) during(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	st.start = st.h.now()
	var beside sync.WaitGroup
	for _, a := range st.in(scenario.During) {
		beside.Go(func() { st.keepAsking(ctx, a, cancel) })
	}
	beside.Go(func() { st.keepTelling(ctx) })
	err := st.timeline(ctx, cancel)
	if err == nil {
		err = st.sleep(ctx, time.Duration(st.s.Duration))
	}
	cause := context.Cause(ctx)
	cancel(nil)
	if stopped := st.stopAll(); err == nil {
		err = stopped
	}
	for _, a := range st.acts {
		st.h.askNAT(a.plan, a.sum)
	}
	beside.Wait()
	if cause != nil {
		return cause
	}
	return err
}

// sleep waits for a moment of the timeline.
func (st *staging) sleep(ctx context.Context, until time.Duration) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	left := until - st.h.now().Sub(st.start)
	if left <= 0 {
		return nil
	}
	select {
	case <-st.h.after(left):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// keepAsking asks a probe again and again until the timeline is over.
func (st *staging) keepAsking(ctx context.Context, a *asked, cancel context.CancelCauseFunc) {
	for n := 0; ; n++ {
		next := time.Duration(n) * time.Duration(a.probe.Interval)
		if next >= time.Duration(st.s.Duration) || st.sleep(ctx, next) != nil {
			return
		}
		began := st.h.now().Sub(st.start)
		err, counts := st.ask(ctx, a, scenario.During, began, false)
		if !counts {
			return
		}
		ended := st.h.now().Sub(st.start)
		if why := a.watch.Note(began, ended, err == nil); why != "" {
			cancel(aborted{a.probe.Name, why})
			return
		}
		n = max(n, int(ended/time.Duration(a.probe.Interval))) // a slow try skips those that it outlasts
	}
}

// keepTelling tells how far the timeline is, again and again until it is over.
func (st *staging) keepTelling(ctx context.Context) {
	every := st.h.progress
	if st.h.terminal {
		every = time.Second
	}
	if every == 0 || st.json {
		return
	}
	for {
		select {
		case <-st.h.after(every):
		case <-ctx.Done():
			return
		}
		gone := st.h.now().Sub(st.start)
		st.tell.tick(st.leave.snapshot(), gone, max(0, time.Duration(st.s.Duration)-gone))
	}
}

// after asks every probe until it passes or its time to recover is over.
func (st *staging) after(ctx context.Context) {
	all := st.in(scenario.After)
	if len(all) == 0 {
		return
	}
	st.tell.phase(scenario.After)
	begun := st.h.now()
	var wg sync.WaitGroup
	for _, a := range all {
		wg.Go(func() {
			limit := time.Duration(*a.probe.Recovery)
			for {
				since := st.h.now().Sub(begun)
				last := since+time.Duration(a.probe.Interval) > limit
				err, counts := st.ask(ctx, a, scenario.After, since, last)
				a.after, a.recovered = err, st.h.now().Sub(begun)
				if !counts || err == nil || last {
					return
				}
				select {
				case <-st.h.after(max(0, since+time.Duration(a.probe.Interval)-a.recovered)):
				case <-ctx.Done():
					return
				}
			}
		})
	}
	wg.Wait()
}
