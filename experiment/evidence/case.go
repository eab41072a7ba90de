package evidence

import (
	"cmp"
	"strings"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/experiment/report"
)

// Struck is the case of a run in the foreground. err is why it broke, or did not
// begin; nil if neither.
func Struck(p *experiment.Plan, r experiment.Result, err error) report.Case {
	c := report.Case{
		Name: cmp.Or(p.Name, strings.Join(p.Spec.FaultNames(), " and ")), Fault: p.Spec.Faults[0].Name, Target: p.Scope(),
		Verdict: report.Done, Took: r.Took,
	}
	switch idle := p.WhyIdle(r); {
	case err != nil:
		c.Verdict, c.Reason = report.Broken, err.Error()
	case len(idle) > 0:
		c.Verdict, c.Reason = report.NeverFired, strings.Join(idle, " ")
	}
	return Allowed(p, c)
}

// Survival is the case of a command that ran under the faults of the plan.
func Survival(p *experiment.Plan, end place.JobEnd, r experiment.Result, err error) report.Case {
	c := Struck(p, r, err)
	c.Exit, c.Took = end.How, end.Took
	switch {
	case err != nil:
	case end.Status != 0:
		c.Verdict, c.Remedy = report.Failed, p.Spec.Remedies()
		c.Reason = "The command failed: " + end.How + "."
		if r.Idle() {
			c.Reason, c.Remedy = "The command failed, but not of this: "+end.How+", and the fault never fired.", ""
		}
	case c.Verdict == report.Done:
		c.Verdict = report.Survived
	}
	return c
}

// Allowed is a case as a report has it: that a fault never fired is no failure
// there if it was said that it need not.
func Allowed(p *experiment.Plan, c report.Case) report.Case {
	if c.Verdict == report.NeverFired && p.Spec.AllowIdle {
		c.Verdict, c.Reason = report.Skipped, "Nothing was tried, which --allow-idle allows: "+c.Reason
	}
	return c
}
