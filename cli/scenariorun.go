package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/faultctl/faultctl/cli/scenario"
	"github.com/faultctl/faultctl/injector"
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
	leave *sceneEvidence
	why   []string // what there is to say of how it ended

	began time.Time // the whole of it
	start time.Time // the timeline
}

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
func (h *host) scenarioRun(c *cli.Context) error {
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
	plans, err := h.scenarioPlans(c, s, seed)
	if err != nil {
		return err
	}
	defer closePlans(plans)
	st := &staging{h: h, s: s, file: files[0], seed: seed, idle: c.Bool("allow-idle")}
	st.again = st.repeat()
	for i := range s.Faults {
		st.acts = append(st.acts, &act{entry: &s.Faults[i], plan: plans[i]})
	}
	for i := range s.Probes {
		st.asked = append(st.asked, &asked{probe: &s.Probes[i], watch: s.NewWatch(&s.Probes[i])})
	}
	st.tell = h.sceneTeller(st, asJSON)
	if c.Bool("dry-run") {
		return h.rehearse(c, st)
	}
	e, err := h.evidence(c)
	if err != nil {
		return err
	}
	st.leave = newSceneEvidence(e, st)
	return st.leave.conclude(st, st.play(c.Context))
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
		fmt.Fprintf(st.h.stderr, "faultctl: the deadline of %s has come, and the scenario does not end: this process ends, and the kernel takes its rules out\n", shortly(st.s.Deadline))
		st.h.exit(exitFailure)
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
	var probes sync.WaitGroup
	for _, a := range st.in(scenario.During) {
		probes.Go(func() { st.keepAsking(ctx, a, cancel) })
	}
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
	probes.Wait()
	if cause != nil {
		return cause
	}
	return err
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

// begin puts a fault to work and returns when it is.
func (st *staging) begin(ctx context.Context, step scenario.Step, cancel context.CancelCauseFunc) error {
	a := st.acts[step.Fault]
	cfg := a.plan.cfg
	cfg.Rules = slices.Clone(cfg.Rules)
	pick := &cfg.Rules[0].Pick
	if step.Percent >= 0 {
		pick.Share = notNought(step.Percent / 100)
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
	ready := make(chan struct{})
	var once sync.Once
	cfg.OnEvent = func(ev injector.Event) {
		ev.Rule = step.Fault
		if ev.Kind == injector.Ready {
			once.Do(func() { close(ready) })
		}
		st.leave.event(step.Fault, ev)
		st.tell.event(ev)
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
	a.sum = added(a.sum, stats)
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

// verdict is the exit code, and why it is that.
func (st *staging) verdict(ctx context.Context, err error) (code int, why []string) {
	var sig signalled
	var abort aborted
	switch {
	case errors.As(err, &sig):
		return 128 + int(sig), []string{"ended by a signal: " + sig.Error()}
	case errors.Is(err, errDeadline):
		return exitFailure, []string{fmt.Sprintf("the deadline of %s came before the end", shortly(st.s.Deadline))}
	case errors.Is(err, errUnsteady):
		why = append(why, errUnsteady.Error())
	case errors.As(err, &abort):
		why = append(why, "aborted: "+abort.Error())
	case err != nil:
		return exitCode(err), []string{err.Error()}
	}
	for _, a := range st.asked {
		why = append(why, a.failures()...)
	}
	if len(why) > 0 {
		return exitProbe, why
	}
	if !st.idle {
		why = st.unfired()
	}
	if len(why) > 0 {
		return exitNotFired, why
	}
	return exitOK, nil
}

// failures says what a probe has shown that must not be.
func (a *asked) failures() (why []string) {
	if a.before != nil {
		why = append(why, fmt.Sprintf("%s failed before: %v", a.probe.Name, a.before))
	}
	if !a.watch.Held() {
		why = append(why, fmt.Sprintf("%s failed %d of %d times during the timeline, and %v is tolerated", a.probe.Name, a.watch.Failed, a.watch.Tried, a.probe.Tolerance))
	}
	if a.after != nil {
		why = append(why, fmt.Sprintf("%s has not recovered within %s: %v", a.probe.Name, shortly(*a.probe.Recovery), a.after))
	}
	return why
}

// unfired lists the faults that acted on fewer connections than they must.
func (st *staging) unfired() (why []string) {
	for _, a := range st.acts {
		why = append(why, a.unfired()...)
	}
	return why
}

// unfired lists the faults of an entry that did.
func (a *act) unfired() (why []string) {
	must := a.entry.MustFire.N
	if must == 0 {
		return nil
	}
	if len(a.sum.Rules) == 0 {
		return []string{a.entry.Name + " never was at work"}
	}
	for _, f := range a.sum.Rules[0].Faults {
		switch {
		case f.Fired == 0:
			why = append(why, fmt.Sprintf("%s never fired: %s", f.Name, whyNot(a.plan, a.sum.Rules[0], f.Name)))
		case f.Fired < must:
			why = append(why, fmt.Sprintf("%s fired on %s, and must on %d", f.Name, plural(f.Fired, "connection"), must))
		}
	}
	return why
}

// added sums up the counters of runs of the same rules.
func added(a, b injector.Snapshot) injector.Snapshot {
	if a.Rules == nil {
		return b
	}
	s := injector.Snapshot{
		Diverted: a.Diverted + b.Diverted, Overruns: a.Overruns + b.Overruns, Lost: a.Lost + b.Lost, Unseen: a.Unseen + b.Unseen,
		Foreign: a.Foreign + b.Foreign, SetFull: a.SetFull + b.SetFull, Latency: a.Latency.Plus(b.Latency),
	}
	for i, r := range a.Rules {
		o := b.Rules[i]
		sum := injector.RuleStats{Flows: r.Flows + o.Flows, Chosen: r.Chosen + o.Chosen}
		for j, f := range r.Faults {
			g := o.Faults[j]
			sum.Faults = append(sum.Faults, injector.FaultStats{
				Name: f.Name, Fired: f.Fired + g.Fired, Acted: f.Acted + g.Acted,
				Diverted: f.Diverted + g.Diverted, Dropped: f.Dropped + g.Dropped, Forged: f.Forged + g.Forged,
			})
		}
		s.Rules = append(s.Rules, sum)
	}
	return s
}

// rehearse shows what the scenario would do.
func (h *host) rehearse(c *cli.Context, st *staging) error {
	st.tell.started()
	for _, step := range st.s.Timeline() {
		st.tell.step(step, st.acts[step.Fault], "")
	}
	for _, a := range st.acts {
		err := asInject(c.Context, a.entry, nil, func(c *cli.Context, _ string) error { return h.dryRun(c, a.plan) })
		if err != nil {
			return err
		}
	}
	return nil
}
