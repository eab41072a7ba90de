package evidence

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/internal/words"
)

// Struck is the case of a run in the foreground. err is why it broke, or did not
// begin; nil if neither.
func Struck(p *experiment.Plan, r experiment.Result, err error) report.Case {
	c := report.Case{
		Name: cmp.Or(p.Name, strings.Join(p.Spec.FaultNames(), " and ")), Fault: p.Spec.Faults[0].Name, Target: p.Scope(),
		Verdict: report.Done, Took: r.Took,
	}
	if err != nil {
		c.Verdict, c.Reason = report.Broken, err.Error()
		return c
	}
	judge(&c, p, r, outcome.NoCommand)
	c.OpenEnd = p.Duration() == 0 && len(p.Spec.Command) == 0
	if c.Verdict == report.Done && len(p.Spec.Command) == 0 && p.Duration() > 0 && r.Cause != nil && !errors.Is(r.Cause, experiment.ErrTimeUp) {
		c.Verdict, c.Reason = report.Interrupted, fmt.Sprintf("It was ended after %s of %s.", words.ShortDuration(r.Took.Round(10*time.Millisecond)), words.ShortDuration(p.Duration()))
	}
	return Allowed(c)
}

// judge says of a case what follows from the counters of a run that is over.
func judge(c *report.Case, p *experiment.Plan, r experiment.Result, command outcome.Command) experiment.Judgement {
	j := p.Spec.Judge(r.Stats, command)
	c.Verdict, c.Reason = VerdictOf(j.Verdict), strings.Join(p.Why(r, j), " ")
	c.AnswersLost, c.SentAgain = experiment.AnswersLost(r.Stats)
	c.MayIdle = (p.Spec.AllowIdle || len(p.Spec.MayIdle) > 0) && j.Code() == event.CodeOK
	return j
}

// VerdictOf is a verdict as a report has it.
func VerdictOf(v outcome.Verdict) report.Verdict {
	switch v {
	case outcome.Failed:
		return report.Failed
	case outcome.Fired:
		return report.Done
	}
	return report.Verdict(v.String())
}

// Survival is the case of a command that ran under the faults of the plan.
func Survival(p *experiment.Plan, end place.JobEnd, r experiment.Result, err error) report.Case {
	c := Struck(p, r, err)
	c.Exit, c.Took = end.How, end.Took
	if err != nil {
		return c
	}
	j := judge(&c, p, r, experiment.CommandOf(end))
	if c.Verdict.Fails() {
		c.Reason, c.Remedy = "The command "+ended(c.Verdict)+": "+end.How+".", p.Spec.Remedies()
		if !j.Struck() {
			c.Reason, c.Remedy = "The command "+ended(c.Verdict)+", but not of this: "+end.How+", and nothing was struck.", ""
		}
		if j.Late.Inconclusive() {
			c.Reason += " " + experiment.MayBeWhy(j.Late)
		}
	}
	return Allowed(c)
}

// ended says how a command ended by which a case fails.
func ended(v report.Verdict) string {
	if v == report.Timeout {
		return "did not end in time"
	}
	return "failed"
}

// Allowed is a case as a report has it: that nothing was learnt of a fault is no
// failure there if it was said that nothing need be.
func Allowed(c report.Case) report.Case {
	by := "--allow-idle"
	if c.Optional {
		by = "the default plan"
	}
	switch {
	case !c.MayIdle:
	case c.Verdict == report.NeverFired:
		c.Verdict, c.Reason = report.Skipped, "Nothing was tried, which "+by+" allows: "+c.Reason
	case c.Verdict.Idle():
		c.Verdict, c.Reason = report.Skipped, "Nothing was learnt ("+string(c.Verdict)+"), which "+by+" allows: "+c.Reason
	}
	return c
}
