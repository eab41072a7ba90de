package survival

import (
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/internal/version"
)

// DryRun are the events that say what would be tried: one for each case.
func (p *Plan) DryRun() (all []event.VerifyDryRun) {
	for i, c := range p.Spec.Cases {
		all = append(all, event.VerifyDryRun{Case: p.names[i], Faults: c.specs()})
	}
	return all
}

// Started is the event with which a Run of the plan begins.
func (p *Plan) Started() event.VerifyStarted {
	common := p.Base.Spec.Clone()
	common.Faults, common.Command = nil, p.Base.ShownCommand()
	e := event.VerifyStarted{
		Faults: p.names, Seed: p.Base.Seed(), Version: version.String(), NetNS: p.Base.Where(), Command: common.Command,
		To: common.Target.To, From: common.Target.From, Runs: p.Spec.runs(), Repeat: p.CommandLine(), Spec: common.Data(),
	}
	for _, c := range p.Spec.Cases {
		e.Rules = append(e.Rules, event.Rule{To: common.Target.To, From: common.Target.From, Faults: c.specs()})
	}
	return e
}

// begun is the event with which a run under a case begins.
func begun(p *experiment.Plan) event.Case {
	return event.Case{Case: p.Name, Repeat: p.CommandLine(), Spec: p.Data()}
}

// Event says what became of the case.
func (r Result) Event() event.VerifyResult {
	return event.VerifyResult{
		Case: r.Name, Fault: r.Fault, Verdict: string(r.Verdict), Exit: r.Exit, Reason: r.Reason, Remedy: r.Remedy, Output: r.Output,
		Took: r.Took.Round(time.Millisecond).String(), Repeat: r.Repeat, AnswersLost: r.AnswersLost, SentAgain: r.SentAgain,
		Connections: r.Connections, Others: r.Others,
	}
}

// Verified is the event that sums up the cases that Run returned, the one without
// a fault first.
func Verified(cases []report.Case) event.Verified {
	tried := cases[1:]
	return event.Verified{
		Survived: count(tried, report.Survived), Failed: count(tried, report.Failed), NeverFired: count(tried, report.NeverFired),
		Timeout: count(tried, report.Timeout), Prevented: count(tried, report.Prevented), Unfelt: count(tried, report.Unfelt),
		Unaccepted: count(tried, report.NotAccepted), Unknown: count(tried, report.NotKnown), Unclear: count(tried, report.Unclear),
		Broken: count(cases, report.Broken), Skipped: count(tried, report.Skipped),
		Healthy: cases[0].Verdict == report.Passed || cases[0].Verdict == report.NeverFired,
	}
}
