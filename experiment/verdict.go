package experiment

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/features"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/internal/words"
)

// A Judgement is what is said of a run, or of several runs of one Spec together.
// It follows from what the strikes came to, by [outcome.Table].
type Judgement struct {
	// Verdict is that of the fault of which the least was learnt. One that
	// Spec.MayIdle names, and of which nothing was learnt, counts only if there is
	// no other.
	Verdict outcome.Verdict

	Faults []Judged // in the order of the rules and of their faults
	Late   Late     // how late packets were judged

	mayIdle bool // nothing need be learnt of any fault
}

// Judged is what is said of one fault.
type Judged struct {
	Fault   string
	Case    outcome.Case
	Verdict outcome.Verdict
	MayIdle bool // nothing need be learnt of it
	Rule    injector.RuleStats
	Stats   injector.FaultStats

	late  Late
	named bool // by Spec.MayIdle
}

// claims orders the verdicts on faults by how much they claim, the least first.
var claims = []outcome.Verdict{
	outcome.Failed, outcome.TimedOut, outcome.Inconclusive, outcome.NeverFired, outcome.Unaccepted, outcome.Unfelt, outcome.Unknown,
	outcome.Prevented, outcome.Fired, outcome.Survived,
}

// Judge says what follows from the counters of runs that are over, whose command
// ended so.
func (s *Spec) Judge(stats injector.Snapshot, command outcome.Command) Judgement {
	j := Judgement{Verdict: outcome.Judge(outcome.Case{Command: command}), Late: LateOf(stats), mayIdle: s.AllowIdle || !s.ExpectFired && len(s.Command) == 0}
	for _, rule := range stats.Rules {
		for _, f := range rule.Faults {
			one := judge(rule, f, command, j.Late)
			one.named = slices.Contains(s.MayIdle, f.Name)
			one.MayIdle = one.named || j.mayIdle
			j.Faults = append(j.Faults, one)
		}
	}
	count := slices.DeleteFunc(slices.Clone(j.Faults), func(f Judged) bool { return f.named && f.Verdict.Exit() == 4 })
	if len(count) == 0 {
		count = j.Faults
	}
	for i, f := range count {
		if i == 0 || slices.Index(claims, f.Verdict) < slices.Index(claims, j.Verdict) {
			j.Verdict = f.Verdict
		}
	}
	return j
}

// judge judges one fault of a rule.
func judge(rule injector.RuleStats, f injector.FaultStats, command outcome.Command, late Late) Judged {
	j := Judged{Fault: f.Name, Rule: rule, Stats: f, Case: outcome.Case{Outcome: OutcomeOf(f), Command: command, Prevented: prevented(f), Overload: late.Inconclusive()}, late: late}
	k, err := faults.Find(f.Name)
	j.Case.Control = err == nil && k.Ignored
	j.Verdict = outcome.Judge(j.Case)
	if err == nil && k.Group == "control" && j.Verdict.Exit() != 3 && j.Verdict != outcome.Inconclusive {
		// It strikes nothing, and is there to watch.
		if j.Verdict = outcome.NeverFired; f.Fired > 0 {
			j.Verdict = outcome.Fired
		}
	}
	return j
}

// OutcomeOf is what the strikes of a fault came to: that of the connection that
// got furthest. Of a fault that acted, and of whose strikes nothing was settled,
// no step is known.
func OutcomeOf(f injector.FaultStats) outcome.Outcome {
	s := &f.Settled
	switch o := s.Furthest; {
	case o.Struck:
		return o
	case s.Struck > 0, f.Fired > s.ClosedBefore:
		return outcome.Outcome{Struck: true}
	case s.ClosedBefore > 0:
		return outcome.Outcome{Why: outcome.ClosedBefore}
	}
	return outcome.Outcome{Why: outcome.NotStruck}
}

// prevented reports whether the client's own behaviour kept the fault's moment
// from coming. A service that closes first is no remedy of the client's.
func prevented(f injector.FaultStats) bool {
	switch f.Settled.Prevented.How {
	case features.ByData, features.ByKeepalives, features.ByClient:
		return true
	}
	return false
}

// Strikes is on how many connections a fault acted that were open, as far as it
// is known while the run goes on.
func Strikes(f injector.FaultStats) uint64 {
	return max(f.Settled.Struck, f.Fired-min(f.Fired, f.Settled.ClosedBefore))
}

// Arrived is on how many connections what a fault did left this host and was not
// refused, as far as it is known.
func Arrived(f injector.FaultStats) uint64 {
	s := &f.Settled
	return Strikes(f) - min(Strikes(f), s.Unsent+s.Unaccepted)
}

// CommandOf says how a command ended, as outcome.Table has it.
func CommandOf(end place.JobEnd) outcome.Command {
	switch {
	case end.TimedOut:
		return outcome.CommandTimedOut
	case end.Status != 0:
		return outcome.CommandFailed
	}
	return outcome.Succeeded
}

// Code is the exit code that the judgement comes to: CodeOK, CodeProbe if the
// command failed or did not end in time, CodeNeverFired if nothing was learnt of a
// fault that must act.
func (j Judgement) Code() event.Code {
	switch j.Verdict.Exit() {
	case 3:
		return event.CodeProbe
	case 4:
		if len(j.Faults) == 0 && !j.mayIdle || slices.ContainsFunc(j.Faults, func(f Judged) bool { return f.Verdict.Exit() == 4 && !f.MayIdle }) {
			return event.CodeNeverFired
		}
	}
	return event.CodeOK
}

// Struck reports whether a fault struck any connection.
func (j Judgement) Struck() bool {
	return slices.ContainsFunc(j.Faults, func(f Judged) bool { return f.Case.Outcome.Struck })
}

// AnswersLost counts the requests that reached the service whole and whose answer
// was lost, and of those the ones that came again. The faults of a rule share its
// connections.
func AnswersLost(stats injector.Snapshot) (lost, again uint64) {
	for _, rule := range stats.Rules {
		var l, a uint64
		for _, f := range rule.Faults {
			l, a = max(l, f.Settled.AnswersLost), max(a, f.Settled.SentAgain)
		}
		lost, again = lost+l, again+a
	}
	return lost, again
}

// Reason says in words why the verdict on the fault is what it is. Empty: there
// is nothing to add.
func (j Judged) Reason() string {
	o := &j.Case.Outcome
	switch j.Verdict {
	case outcome.Inconclusive:
		return j.late.Reason()
	case outcome.Prevented:
		if o.Struck {
			return "TCP took no notice of it, as it must" + because(o.Accepted)
		}
		p := j.Stats.Settled.Prevented
		return fmt.Sprintf("longest silence %s of %s: %s", seconds(p.Silence), seconds(p.Needed), p.How)
	case outcome.NeverFired:
		if o.Why == outcome.ClosedBefore {
			return "its moment came on " + words.Plural(j.Stats.Settled.ClosedBefore, "connection") + ", closed before: there was nothing to be struck"
		}
	case outcome.Unaccepted:
		switch {
		case o.Sent.Answer != outcome.No:
			return "the TCP that it was meant for took no notice" + because(o.Accepted)
		case o.Sent.Evidence == outcome.SendFailed:
			return "it did not leave this host: this host refused to send it, because a firewall drops it on the way out (EPERM), or there is no route or no address for it"
		}
		return "it did not leave this host" + because(o.Sent)
	case outcome.Unfelt:
		return "nothing was at stake" + because(o.Felt)
	case outcome.Unknown:
		for _, step := range []struct {
			outcome.Step
			what string
		}{{o.Sent, "it left this host"}, {o.Accepted, "the TCP that it was meant for acted on it"}, {o.Felt, "the application had something at stake"}} {
			if step.Answer == outcome.NotKnown {
				return "whether " + step.what + " is not known" + because(step.Step)
			}
		}
	}
	return ""
}

// advice is what to do next about the verdict on the fault.
func (j Judged) advice() string { return strings.ReplaceAll(outcome.Advice(j.Case), "NAME", j.Fault) }

// because is the evidence of a step, behind what it is evidence of.
func because(s outcome.Step) string {
	if text := s.Evidence.String(); text != "" {
		return ": " + text
	}
	return ""
}

// seconds is a duration as people compare silences: 0.5s, 350s.
func seconds(d time.Duration) string {
	text := strconv.FormatFloat(d.Seconds(), 'f', 2, 64)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".") + "s"
}

// outcomeEvent is what the strikes on a connection came to, as an event.
func outcomeEvent(ev injector.Event) event.Outcome {
	o := &ev.Outcome
	e := event.Outcome{
		Fault: ev.Fault, Flow: event.Ends(ev.Flow), Rule: ev.Rule, Ordinal: ev.Ordinal, Struck: o.Struck, AnswerLost: o.AnswerLost,
	}
	if !o.Struck {
		e.Why = o.Why.String()
	}
	began, known := o.Sent.At, o.Sent.At > 0 && o.Sent.Evidence != outcome.ByEffect
	step := func(s outcome.Step) event.OutcomeStep {
		w := event.OutcomeStep{Answer: s.Answer.String(), Evidence: s.Evidence.String()}
		if known && s.At >= began {
			w.After = (s.At - began).Round(10 * time.Microsecond).String()
		}
		return w
	}
	e.Sent, e.Accepted, e.Felt = step(o.Sent), step(o.Accepted), step(o.Felt)
	return e
}

// outcomesOf are the counts of what strikes came to, as events have them.
func outcomesOf(s outcome.Tally) event.Outcomes {
	return event.Outcomes{
		Struck: s.Struck, Unsent: s.Unsent, Unaccepted: s.Unaccepted, Unfelt: s.Unfelt, Felt: s.Felt, Unknown: s.Unknown,
		ClosedBefore: s.ClosedBefore, AnswersLost: s.AnswersLost, SentAgain: s.SentAgain,
	}
}
