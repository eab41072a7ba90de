package survival

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
)

// healthy runs the command without a fault, and finds out how long it may take
// with one, and whether it opens any connection that could be struck. Where cases
// are to be tried side by side, so many runs begin at the same time: if one fails,
// and the command succeeds alone, cases are tried one at a time.
func (r *runner) healthy(ctx context.Context) (report.Case, error) {
	together, err := r.together()
	if err != nil {
		return report.Case{}, err
	}
	why := ""
	if r.jobs > 1 && !together {
		why = "Cases are tried one at a time in spite of --jobs: the command shares its network namespace with everything else here, so the connections of two runs cannot be told apart."
		r.jobs = 1
	}
	c, longest, err := r.untouched(ctx)
	if err == nil && r.jobs > 1 && c.Verdict.Fails() && ctx.Err() == nil {
		beside := c
		side := r.jobs
		r.jobs = 1
		if c, longest, err = r.untouched(ctx); err == nil && c.Verdict == report.Passed {
			why = fmt.Sprintf("Cases are tried one at a time in spite of --jobs: without any fault the command succeeds alone, and %s when %d run side by side. "+
				"They may share a port, a file or a database.", inWords(beside), side)
			c.Output = beside.Output
		}
		c.Start, c.Took = beside.Start, c.Took+beside.Took
	}
	if err != nil {
		return c, err
	}
	if r.plan.Spec.Timeout == nil {
		r.plan.limit = foundLimit(longest)
	}
	if why != "" && c.Verdict == report.Passed {
		c.Reason = why
	}
	r.order.now(func() {
		r.ev.Add(c, nil)
		r.order.w.Result(Result{Case: c})
	})
	return c, nil
}

// inWords says how a run ended that did not succeed.
func inWords(c report.Case) string {
	if c.Verdict == report.Timeout {
		return "does not end in time"
	}
	return "fails (" + c.Exit + ")"
}

// together reports whether the connections of commands in two cages can be told
// apart.
func (r *runner) together() (bool, error) {
	if r.jobs < 2 {
		return true, nil
	}
	in, err := r.plan.Base.NewCage()
	if err != nil {
		return false, err
	}
	apart := in.Owner() != (target.Owner{}) || in.NetNS() != nil && r.plan.Base.Isolated()
	return apart, in.Close()
}

// run is what became of a run of the command without a fault.
type run struct {
	end  place.JobEnd
	out  string
	seen experiment.Seen
	err  error
}

// untouched runs the command without a fault, as often as a case does and as many
// at a time as there are jobs, until one fails. longest is how long one took.
func (r *runner) untouched(ctx context.Context) (c report.Case, longest time.Duration, err error) {
	c = report.Case{Name: NoFault, Base: true, Verdict: report.Passed, Start: r.plan.sys.Now()}
	all := experiment.Seen{All: true}
	for n := 0; n < r.plan.Spec.runs() && c.Verdict == report.Passed; n++ {
		over := make(chan struct{})
		r.order.now(func() {
			r.order.w.Running(Attempt{Name: NoFault, Limit: r.plan.limit, Jobs: r.jobs, Over: over, Stats: func() injector.Snapshot { return injector.Snapshot{} }})
		})
		runs := make([]run, r.jobs)
		var begun sync.WaitGroup
		for i := range runs {
			begun.Go(func() { runs[i].end, runs[i].out, runs[i].seen, runs[i].err = r.alone(ctx) })
		}
		begun.Wait()
		close(over)
		took := time.Duration(0)
		for _, one := range runs {
			if one.err != nil {
				return c, longest, one.err
			}
			took = max(took, one.end.Took)
			if c.Verdict == report.Passed {
				c.Exit, c.Output = one.end.How, one.out
				if c.Verdict, c.Reason = r.judgeUntouched(ctx, one.end); c.Verdict == report.Failed {
					c.Reason += r.plan.Base.Unreached(one.seen)
				}
			}
			all = experiment.Seen{Matched: all.Matched + one.seen.Matched, Others: one.seen.Others, All: all.All && one.seen.All, NAT: one.seen.NAT, Held: one.seen.Held}
		}
		c.Took += took
		longest = max(longest, took)
	}
	if c.Verdict == report.Passed && all.All && all.Matched == 0 {
		c.Verdict, c.Reason = report.NeverFired, r.plan.Base.WhyNone(all)
	}
	return c, longest, nil
}

// judgeUntouched says what a run without a fault came to.
func (r *runner) judgeUntouched(ctx context.Context, end place.JobEnd) (report.Verdict, string) {
	switch {
	case ctx.Err() != nil:
		return report.Skipped, "interrupted"
	case end.TimedOut:
		return report.Timeout, "The command does not end in time without any fault, so nothing can be said: " + end.How + "."
	case end.Status != 0:
		return report.Failed, "The command fails without any fault, so nothing can be said: " + end.How + "."
	}
	return report.Passed, ""
}

// alone runs the command in a cage, without a fault. Where connections must be
// struck that the target names, it is watched which ones the command opens.
func (r *runner) alone(ctx context.Context) (end place.JobEnd, out string, seen experiment.Seen, err error) {
	out, err = r.caged(func(st place.Stage) (err error) {
		if p := r.plan.Base; p.NamesEnds() && p.ExpectsFired() {
			end, seen, err = p.RunSeen(ctx, st)
		} else {
			end, err = p.RunAlone(ctx, st)
		}
		return err
	})
	return end, out, seen, err
}
