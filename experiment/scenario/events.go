package scenario

import (
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/internal/version"
	"github.com/faultctl/faultctl/internal/words"
)

// Events is a Watcher that has the events of a scenario written. write is called
// by several goroutines; event.Writer.Write is one.
func Events(p *Plan, write func(at time.Time, e event.Event) error) Watcher {
	return &eventWatcher{p, write}
}

type eventWatcher struct {
	plan  *Plan
	write func(time.Time, event.Event) error
}

func (w *eventWatcher) Started(at time.Time)         { _ = w.write(at, w.plan.Started()) }
func (w *eventWatcher) Phase(at time.Time, ph Phase) { _ = w.write(at, ph.Event()) }
func (w *eventWatcher) Step(at time.Time, step Step, note string) {
	_ = w.write(at, w.plan.Step(step, note))
}
func (w *eventWatcher) Event(at time.Time, _ int, e event.Event) { _ = w.write(at, e) }
func (w *eventWatcher) Probe(at time.Time, try Try)              { _ = w.write(at, try.Event()) }

// Tick tells nothing: events say what happens, not how far it is.
func (w *eventWatcher) Tick(time.Time, injector.Snapshot, time.Duration, time.Duration) {}

func (w *eventWatcher) Ended(at time.Time, r *Result) {
	for _, e := range r.Events(w.plan) {
		_ = w.write(at, e)
	}
}

// Started is the event with which the scenario begins.
func (p *Plan) Started() event.ScenarioStarted {
	s := p.Scenario
	e := event.ScenarioStarted{
		Scenario: s.Name, File: p.File, Seed: p.Seed, Version: version.String(), Protected: p.Protected(),
		Duration: s.Duration.String(), Deadline: s.Deadline.String(), Repeat: p.Repeat(),
	}
	for i, entry := range p.Entries {
		f := &s.Faults[i]
		for _, one := range f.Spec.Faults {
			e.Faults = append(e.Faults, one.Name)
		}
		e.Rules = append(e.Rules, event.ScenarioRule{
			Name: f.Name, Rule: entry.Rule(), NetNS: entry.Where(), Start: f.Start.String(), Duration: f.Duration.String(), MustFire: f.MustFire.N,
		})
	}
	for i := range s.Probes {
		e.Probes = append(e.Probes, s.Probes[i].Name)
	}
	return e
}

// Event is the event of the beginning of a phase.
func (ph Phase) Event() event.Phase { return event.Phase{Phase: string(ph)} }

// Step is the event of a step of the timeline. note says why a Start was left
// out; else it is empty.
func (p *Plan) Step(step Step, note string) event.Step {
	e := event.Step{Entry: p.Scenario.Faults[step.Fault].Name, Rule: step.Fault, Do: step.Do.String(), At: words.ShortDuration(step.At), Note: note}
	if step.Do != Stop && step.Percent >= 0 {
		e.Percent = &step.Percent
	}
	return e
}

// Event is the event of a try of a probe.
func (t Try) Event() event.Probe {
	e := event.Probe{Probe: t.Probe.Name, Phase: string(t.Phase), OK: t.Err == nil, Took: t.Took.Round(time.Microsecond).String()}
	if t.Err != nil {
		e.Reason = t.Err.Error()
	}
	return e
}

// Events are the events with which the scenario ends: of each fault, of each
// probe, and the result.
func (r *Result) Events(p *Plan) (all []event.Event) {
	for i, entry := range r.Entries {
		for _, rule := range entry.Stats.Rules {
			for _, f := range rule.Faults {
				all = append(all, event.ScenarioEnded{Totals: experiment.TotalsOf(entry.Stats, rule, f, entry.Took), Entry: entry.Entry.Name, Rule: i})
			}
		}
	}
	for _, probe := range r.Probes {
		e := event.ProbeEnded{
			Probe: probe.Probe.Name, OK: len(probe.Failures) == 0, Tried: probe.Tried, Failed: probe.Failed, Tolerance: probe.Probe.Tolerance.String(),
		}
		if probe.After.Tried && probe.After.Err == nil {
			e.Recovered = probe.Recovered.Round(time.Millisecond).String()
		}
		all = append(all, e)
	}
	return append(all, event.ScenarioResult{Scenario: p.Scenario.Name, Code: r.Code, Why: r.Why, Duration: r.Took.Round(time.Millisecond).String()})
}

// inEntry is an event of an entry's run as a scenario tells it. It is false for
// one that says of the run what the scenario says itself.
func inEntry(entry int, e event.Event) (event.Event, bool) {
	switch e := e.(type) {
	case event.Started, event.Ended, event.Changed:
		return nil, false
	case event.Flow:
		e.Rule = entry
		return e, true
	case event.Fired:
		e.Rule = entry
		return e, true
	case event.Outcome:
		e.Rule = entry
		return e, true
	}
	return e, true
}
