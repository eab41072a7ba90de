package survival

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/evidence"
	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/injector"
)

// NoFault is the name of the case of a command that is left alone.
const NoFault = "no fault"

// Run runs the command without a fault and then under each case of the plan, each
// time in a cage of its own, and returns what became of each: the case without a
// fault first. If that one fails nothing else is tried; when ctx is done the
// command is ended and nothing more is tried. What was not tried is
// report.Skipped. As many run at the same time as Spec.Jobs says.
//
// The stage says what the command is given: its Path, found here if that is
// empty, and its Stdin. Its other fields are set here; what the command prints is
// kept and not shown. ev may be nil: see evidence.Evidence. It is not closed.
//
// The error is of faultctl, not of the command. The cases are what is known
// until then, nil if it is of the run without a fault or of what comes before.
func Run(ctx context.Context, p *Plan, stage place.Stage, ev *evidence.Evidence, w Watcher) ([]report.Case, error) {
	ev.Named(p.CommandLine(), p.Base.Seed())
	if stage.Path == "" {
		path, err := p.Base.FindCommand()
		if err != nil {
			return nil, event.Usagef("", "verify: %w", err).WithAdvice(experiment.AdviceOf(err))
		}
		stage.Path = path
	}
	r := &runner{plan: p, stage: stage, ev: ev, order: newOrder(w), jobs: min(p.Spec.jobs(), len(p.Spec.Cases))}
	w.Started(p)
	healthy, err := r.healthy(ctx)
	if err != nil {
		return nil, err
	}
	switch healthy.Verdict {
	case report.Passed:
	case report.NeverFired:
		r.skip = "the command opened none of the connections without a fault"
	default:
		r.skip = "the command fails without a fault"
	}
	cases := make([]report.Case, len(p.Spec.Cases))
	var workers sync.WaitGroup
	for range r.jobs {
		workers.Go(func() {
			for nth, skip := r.next(ctx); nth < len(cases); nth, skip = r.next(ctx) {
				cases[nth] = r.oneCase(ctx, nth, skip)
			}
		})
	}
	workers.Wait()
	cases = append([]report.Case{healthy}, cases...)
	w.Ended(cases)
	return cases, r.broke
}

// runner carries out a plan.
type runner struct {
	plan  *Plan
	stage place.Stage
	ev    *evidence.Evidence
	order *order
	jobs  int // so many cases are tried at the same time

	mu    sync.Mutex
	tried int    // cases that were begun
	skip  string // why no other case is tried
	broke error  // what kept the first one that it kept from being tried
}

// next is the next case to try, and why it is not tried if it is not.
func (r *runner) next(ctx context.Context) (nth int, skip string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() != nil && r.broke == nil {
		r.skip = "interrupted"
	}
	r.tried++
	return r.tried - 1, r.skip
}

// oneCase tries a case, unless it is to be skipped.
func (r *runner) oneCase(ctx context.Context, nth int, skip string) report.Case {
	c := r.newCase(nth)
	if skip != "" {
		c.Verdict, c.Reason = report.Skipped, skip
		r.tell(nth, c)
		return c
	}
	c, err := r.try(ctx, nth)
	if err != nil {
		c.Verdict, c.Reason, c.Remedy, c.Output = report.Broken, err.Error(), "", ""
		r.mu.Lock()
		if r.broke == nil {
			r.skip, r.broke = "faultctl failed before", err
		}
		r.mu.Unlock()
		r.tell(nth, c)
	}
	return c
}

// newCase is a case that begins.
func (r *runner) newCase(nth int) report.Case {
	return report.Case{Name: r.plan.names[nth], Fault: r.plan.Spec.Cases[nth].Faults[0].Name, Start: r.plan.sys.Now()}
}

// tell tells of a case that did not come to a run under faults.
func (r *runner) tell(nth int, c report.Case) { r.result(nth, c, nil, Result{Case: c}) }

// result tells what became of a case, whose last run is on record.
func (r *runner) result(nth int, c report.Case, record *evidence.Record, told Result) {
	r.order.end(nth, r.plan.sys.Now(), func() {
		r.ev.Add(c, record)
		r.order.w.Result(told)
	})
}

// caged makes a cage, has do run the command in it, and returns the last lines
// that the command printed.
func (r *runner) caged(do func(place.Stage) error) (out string, err error) {
	st := r.stage
	if st.Cage, err = r.plan.Base.NewCage(); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, st.Cage.Close()) }()
	printed, err := newOutput(r.plan.Base.Redacted())
	if err != nil {
		return "", err
	}
	st.Stdout, st.Stderr, st.Signals, st.Limit = printed.w, printed.w, nil, r.plan.limit
	err = do(st)
	return printed.lines(), err
}

// attempted is what became of a run of the command under faults.
type attempted struct {
	plan   *experiment.Plan
	end    place.JobEnd
	output string
	result experiment.Result
	stats  injector.Snapshot // of the attempt before, too, if there was one
	record *evidence.Record
	story  *story
}

// judge says what follows from some counters, if the command ended so.
func (a *attempted) judge(stats injector.Snapshot, command outcome.Command) experiment.Judgement {
	return a.plan.Spec.Judge(stats, command)
}

// try runs the command under a case, and says what became of it.
func (r *runner) try(ctx context.Context, nth int) (report.Case, error) {
	runs := r.plan.Spec.runs()
	c := r.newCase(nth)
	c.Target, c.Verdict = r.plan.Base.Scope(), report.NeverFired
	var last attempted
	var all injector.Snapshot
	survived := 0
	for n := 0; n < runs && !c.Verdict.Fails() && ctx.Err() == nil; n++ {
		a, err := r.attempt(ctx, nth)
		if err != nil {
			return c, err
		}
		c.Took += a.end.Took
		c.Exit, c.Output = a.end.How, a.output
		last, all = a, all.Plus(a.stats)
		if command := experiment.CommandOf(a.end); command != outcome.Succeeded {
			r.failed(&c, &a, command)
			continue
		}
		if a.judge(a.stats, outcome.Succeeded).Verdict == outcome.Survived {
			survived++
		}
		j := a.judge(all, outcome.Succeeded)
		c.Verdict, c.MayIdle = evidence.VerdictOf(j.Verdict), j.Code() == event.CodeOK
		c.Reason = whyNot(a.plan, experiment.Result{Stats: all, NAT: a.result.NAT}, j)
		if c.Verdict.Idle() && c.Verdict != report.NotAccepted && c.Verdict != report.Unclear && r.plan.Spec.Cases[nth].Optional && !c.MayIdle {
			c.MayIdle, c.Optional = true, true
			c.Reason += " It does not count against the command, as the default plan is not made for it; --faults " + c.Name + " has it count."
		}
	}
	c.AnswersLost, c.SentAgain = experiment.AnswersLost(all)
	if ctx.Err() != nil {
		c.Verdict, c.Reason, c.Remedy = report.Skipped, "interrupted", ""
	}
	if c.Verdict == report.Survived && survived < runs {
		c.Reason = fmt.Sprintf("The fault was felt in %d of %d runs.", survived, runs)
	}
	if !c.Verdict.Fails() {
		c.Output = ""
	}
	if last.story != nil {
		ours, others := last.story.end()
		if c.Others = others; c.Verdict.Fails() {
			c.Connections = ours
		}
	}
	told := Result{Case: c, Stats: last.result.Stats}
	if last.plan != nil {
		told.Repeat = last.plan.CommandLine()
	}
	r.result(nth, evidence.Allowed(c), last.record, told)
	return c, nil
}

// failed says of a case that its command failed, or did not end in time.
func (r *runner) failed(c *report.Case, a *attempted, command outcome.Command) {
	c.Verdict = evidence.VerdictOf(a.judge(a.stats, command).Verdict)
	what := "The command failed"
	if c.Verdict == report.Timeout {
		what = "The command did not end in time"
	}
	j := a.judge(a.stats, outcome.Succeeded) // what is said of the fault alone
	switch {
	case j.Struck():
		c.Reason, c.Remedy = what+": "+a.end.How+".", a.plan.Spec.Remedies()
		if j.Verdict == outcome.Unaccepted {
			c.Reason += " " + whyNot(a.plan, a.result, j)
		}
	case j.Verdict == outcome.Prevented:
		c.Reason = what + " although the fault was prevented: " + a.end.How + ". Does it fail now and then by itself?"
	default:
		c.Reason = what + " although the fault never fired: " + a.end.How + ". Does it fail now and then by itself?"
	}
	if j.Verdict == outcome.Inconclusive {
		c.Reason += " " + experiment.MayBeWhy(j.Late)
	}
}

// attempt runs the command under a case once: twice if nothing was survived on the
// connections that were chosen, and others were left alone that may meet the
// fault's moment, or have something at stake then.
func (r *runner) attempt(ctx context.Context, nth int) (attempted, error) {
	a, err := r.under(ctx, nth, false)
	if err != nil || a.end.Status != 0 || a.end.TimedOut || r.plan.Picked || !spared(a.stats) || ctx.Err() != nil {
		return a, err
	}
	switch a.judge(a.stats, outcome.Succeeded).Verdict {
	case outcome.Survived, outcome.Fired, outcome.Inconclusive:
		return a, nil
	}
	b, err := r.under(ctx, nth, true)
	if err == nil {
		b.stats = a.stats.Plus(b.stats)
	}
	return b, err
}

// under runs the command under the faults of a case, in a cage of its own.
func (r *runner) under(ctx context.Context, nth int, second bool) (a attempted, err error) {
	if a.plan, err = r.plan.of(nth, second); err != nil {
		return a, err
	}
	a.record, a.story = r.ev.Attend(a.plan), newStory()
	a.plan.Observe(experiment.Observer{Packet: a.story.packet, HeadersOnly: true})
	var now atomic.Pointer[func() injector.Snapshot]
	a.plan.Observe(experiment.Observer{
		Event: func(at time.Time, e event.Event) {
			if _, is := e.(event.Started); is {
				e = begun(a.plan)
			}
			r.order.event(nth, at, e)
		},
		Stats: func(stats func() injector.Snapshot) { now.Store(&stats) },
	})
	over := make(chan struct{})
	defer close(over)
	r.order.now(func() {
		r.order.w.Running(Attempt{Nth: nth + 1, Name: a.plan.Name, Limit: r.plan.limit, Jobs: r.jobs, Over: over, Plan: a.plan, Stats: func() injector.Snapshot {
			if stats := now.Load(); stats != nil {
				return (*stats)()
			}
			return injector.Snapshot{}
		}})
	})
	a.output, err = r.caged(func(st place.Stage) (err error) {
		a.end, a.result, err = a.plan.RunCommand(ctx, st)
		a.stats = a.result.Stats
		r.ev.Ended(a.result.Stats)
		return err
	})
	return a, err
}

// spared reports whether there were connections that were not chosen.
func spared(s injector.Snapshot) bool {
	for _, r := range s.Rules {
		if r.Flows > r.Chosen {
			return true
		}
	}
	return false
}

// whyNot says why the verdict on faults is no plain survival, and what to do next.
func whyNot(p *experiment.Plan, result experiment.Result, j experiment.Judgement) string {
	var why, struck []string
	idle := 0
	for _, f := range j.Faults {
		if f.Case.Outcome.Struck {
			struck = append(struck, f.Fault)
		}
		if f.Verdict.Exit() == 4 {
			idle++
		}
		text := p.WhyFault(result, f)
		if f.Verdict == outcome.NeverFired {
			text = f.Fault + ": " + p.WhyNot(result, f)
			if hint := momentOf(p.Spec.Faults, f.Fault); hint != "" && f.Rule.Chosen > 0 {
				text += " " + hint
			}
		}
		if text != "" {
			why = append(why, text)
		}
	}
	if idle > 0 && len(struck) > 0 && len(struck) < len(j.Faults) {
		why = append(why, "Of the faults of the case only "+strings.Join(struck, " and ")+" struck.")
	}
	return strings.Join(why, " ")
}
