package survival

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/evidence"
	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/injector"
)

// NoFault is the name of the case of a command that is left alone.
const NoFault = "no fault"

// Run runs the command without a fault and then under each case of the plan, each
// time in a cage of its own, and returns what became of each: the case without a
// fault first. If that one fails nothing else is tried; when ctx is done the
// command is ended and nothing more is tried. What was not tried is
// report.Skipped.
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
		path, err := place.FindCommand(p.Base.Spec.Command[0])
		if err != nil {
			return nil, event.Usagef("", "verify: %w", err).WithAdvice(event.AdviceOf(err))
		}
		stage.Path = path
	}
	r := &runner{p, stage, ev, w}
	w.Started(p)
	healthy, err := r.healthy(ctx)
	if err != nil {
		return nil, err
	}
	cases := []report.Case{healthy}
	skip := ""
	if healthy.Verdict != report.Passed {
		skip = "the command fails without a fault"
	}
	var broke error
	for nth := range p.Spec.Cases {
		if ctx.Err() != nil {
			skip = "interrupted"
		}
		c := r.newCase(nth)
		if skip != "" {
			c.Verdict, c.Reason = report.Skipped, skip
			r.tell(c)
		} else if c, err = r.try(ctx, nth); err != nil {
			c.Verdict, c.Reason, c.Remedy, c.Output = report.Broken, err.Error(), "", ""
			r.tell(c)
			skip, broke = "faultctl failed before", err
		}
		cases = append(cases, c)
	}
	w.Ended(cases)
	return cases, broke
}

// runner carries out a plan.
type runner struct {
	plan  *Plan
	stage place.Stage
	ev    *evidence.Evidence
	w     Watcher
}

// newCase is a case that begins.
func (r *runner) newCase(nth int) report.Case {
	return report.Case{Name: r.plan.names[nth], Fault: r.plan.Spec.Cases[nth].Faults[0].Name, Start: r.plan.sys.Now()}
}

// tell tells of a case that did not come to a run under faults.
func (r *runner) tell(c report.Case) {
	r.ev.Add(c, nil)
	r.w.Result(Result{Case: c})
}

// healthy runs the command without a fault, and finds out how long it may take
// with one.
func (r *runner) healthy(ctx context.Context) (report.Case, error) {
	c := report.Case{Name: NoFault, Base: true, Verdict: report.Passed, Start: r.plan.sys.Now()}
	longest := time.Duration(0)
	for n := 0; n < r.plan.Spec.runs() && c.Verdict == report.Passed; n++ {
		r.w.Running(Attempt{Name: NoFault, Limit: r.plan.limit, Stats: func() injector.Snapshot { return injector.Snapshot{} }})
		end, out, err := r.alone(ctx)
		if err != nil {
			return c, err
		}
		c.Took += end.Took
		c.Exit, c.Output = end.How, out
		longest = max(longest, end.Took)
		switch {
		case ctx.Err() != nil:
			c.Verdict, c.Reason = report.Skipped, "interrupted"
		case end.Status != 0:
			c.Verdict, c.Reason = report.Failed, "The command fails without any fault, so nothing can be said: "+end.How+"."
		}
	}
	if r.plan.Spec.Timeout == nil {
		r.plan.limit = foundLimit(longest)
	}
	r.tell(c)
	return c, nil
}

// alone runs the command in a cage, and nothing else happens.
func (r *runner) alone(ctx context.Context) (end place.JobEnd, out string, err error) {
	out, err = r.caged(func(st place.Stage) (err error) {
		end, err = r.plan.Base.RunAlone(ctx, st)
		return err
	})
	return end, out, err
}

// caged makes a cage, has do run the command in it, and returns the last lines
// that the command printed.
func (r *runner) caged(do func(place.Stage) error) (out string, err error) {
	st := r.stage
	if st.Cage, err = r.plan.Base.NewCage(); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, st.Cage.Close()) }()
	printed, err := newOutput()
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
	record *evidence.Record
}

// try runs the command under a case, and says what became of it.
func (r *runner) try(ctx context.Context, nth int) (report.Case, error) {
	runs := r.plan.Spec.runs()
	c := r.newCase(nth)
	c.Target, c.Verdict = r.plan.Base.Scope(), report.NeverFired
	var last attempted
	fired := 0
	for n := 0; n < runs && c.Verdict != report.Failed && ctx.Err() == nil; n++ {
		a, err := r.attempt(ctx, nth)
		if err != nil {
			return c, err
		}
		c.Took += a.end.Took
		c.Exit, c.Output = a.end.How, a.output
		last = a
		never := a.result.Idle()
		switch {
		case a.end.Status != 0 && never:
			c.Verdict, c.Reason = report.Failed, "The command failed although the fault never fired: "+a.end.How+". Does it fail now and then by itself?"
		case a.end.Status != 0:
			c.Verdict, c.Reason, c.Remedy = report.Failed, "The command failed: "+a.end.How+".", a.plan.Spec.Remedies()
		case !never:
			fired++
			c.Verdict, c.Reason = report.Survived, ""
		case c.Verdict == report.NeverFired:
			c.Reason = whyIdle(a.plan, a.result)
		}
	}
	if ctx.Err() != nil {
		c.Verdict, c.Reason, c.Remedy = report.Skipped, "interrupted", ""
	}
	if c.Verdict == report.Survived && fired < runs {
		c.Reason = fmt.Sprintf("The fault fired in %d of %d runs.", fired, runs)
	}
	if c.Verdict != report.Failed {
		c.Output = ""
	}
	told := Result{Case: c, Stats: last.result.Stats}
	if last.plan != nil {
		told.Repeat = last.plan.CommandLine()
	}
	r.ev.Add(evidence.Allowed(r.plan.Base, c), last.record)
	r.w.Result(told)
	return c, nil
}

// attempt runs the command under a case once: twice if a fault stayed idle on the
// connections that were struck, and others were left alone that may meet its
// moment.
func (r *runner) attempt(ctx context.Context, nth int) (attempted, error) {
	a, err := r.under(ctx, nth, false)
	if err == nil && a.end.Status == 0 && a.result.Idle() && !r.plan.Picked && spared(a.result.Stats) && ctx.Err() == nil {
		return r.under(ctx, nth, true)
	}
	return a, err
}

// under runs the command under the faults of a case, in a cage of its own.
func (r *runner) under(ctx context.Context, nth int, second bool) (a attempted, err error) {
	if a.plan, err = r.plan.of(nth, second); err != nil {
		return a, err
	}
	a.record = r.ev.Attend(a.plan)
	var now atomic.Pointer[func() injector.Snapshot]
	a.plan.Observe(experiment.Observer{
		Event: func(at time.Time, e event.Event) {
			if _, is := e.(event.Started); is {
				e = begun(a.plan)
			}
			r.w.Event(at, e)
		},
		Stats: func(stats func() injector.Snapshot) { now.Store(&stats) },
	})
	r.w.Running(Attempt{Nth: nth + 1, Name: a.plan.Name, Limit: r.plan.limit, Plan: a.plan, Stats: func() injector.Snapshot {
		if stats := now.Load(); stats != nil {
			return (*stats)()
		}
		return injector.Snapshot{}
	}})
	a.output, err = r.caged(func(st place.Stage) (err error) {
		a.end, a.result, err = a.plan.RunCommand(ctx, st)
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

// whyIdle says why faults never fired, and how to make them.
func whyIdle(p *experiment.Plan, result experiment.Result) string {
	var why []string
	for _, rule := range result.Stats.Rules {
		for _, f := range rule.Faults {
			if f.Fired > 0 {
				continue
			}
			text := f.Name + ": " + p.WhyNot(result, rule, f.Name)
			if hint := momentOf(f.Name); hint != "" && rule.Chosen > 0 {
				text += " " + hint
			}
			why = append(why, text)
		}
	}
	return strings.Join(why, " ")
}
