package scenario

import (
	"context"
	"fmt"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/injector"
)

// A Watcher is told what happens while a scenario is played, as it happens.
// Several goroutines call it, and what they do waits for it. Events makes one
// that writes events.
type Watcher interface {
	// Started comes first. Nothing has been touched.
	Started(at time.Time)
	// Phase says that a phase begins. One in which no probe is asked is left out,
	// except During.
	Phase(at time.Time, ph Phase)
	// Step says that a step of the timeline is taken. note says why a Start was
	// left out; else it is empty.
	Step(at time.Time, step Step, note string)
	// Event is an event of an entry's run: event.Ready, Flow, Fired, Outcome or Target, and
	// what an update of the run told. Their Rule is the entry's ordinal.
	Event(at time.Time, entry int, e event.Event)
	// Probe says that a probe was asked.
	Probe(at time.Time, try Try)
	// Tick says now and then how far the timeline is: the counters of all entries
	// with one rule each, how much time is gone, and how much is left.
	Tick(at time.Time, s injector.Snapshot, gone, left time.Duration)
	// Ended comes last. Everything is as it was before.
	Ended(at time.Time, r *Result)
}

// Try is one try of a probe.
type Try struct {
	Probe *Probe
	Phase Phase
	Took  time.Duration
	Since time.Duration // when it began, from the beginning of its phase
	Err   error         // why it failed; nil: it passed
	Last  bool          // the probe is not asked again in this phase
}

// Hooks are what whoever plays a scenario may want to do meanwhile. Any field may
// be zero.
type Hooks struct {
	// TickEvery is how often Watcher.Tick is called; zero: never.
	TickEvery time.Duration

	// Session is called before an entry goes to work, with the plan of this start
	// alone: it may choose ordinals and observe. nth is how often an entry of the
	// name went to work before.
	Session func(entry string, nth int, p *experiment.Plan)

	// Stuck is called when the scenario has not ended within 5 s of its deadline.
	// It is to end the process: the kernel then takes the rules out. why is for
	// people.
	Stuck func(why string)

	// Try asks a probe once, in place of a Prober. The error says why it failed.
	Try func(context.Context, *Probe) error
}

// A Result says how a scenario ended.
type Result struct {
	Code event.Code // CodeOK, CodeProbe, CodeNeverFired, or the code of Err
	Why  []string   // what is behind a code other than CodeOK, in whole sentences

	// Err is what kept faultctl from going on, or the cause of the end of the
	// context that it was played under; nil for what the scenario itself provides
	// for: probes that fail, aborts, the deadline, faults that never fire.
	Err error

	Took    time.Duration
	Entries []EntryResult // in the order of the file
	Probes  []ProbeResult // likewise
}

// EntryResult is what an entry has done, in all of its pulses.
type EntryResult struct {
	Entry    *Entry
	Stats    injector.Snapshot // one rule, or none if it never became active
	Took     time.Duration     // how long it was active
	Skipped  int               // pulses that were left out because of max-connections
	MayIdle  bool              // it need not fire
	NAT      []injector.Translation
	plan     *experiment.Plan
	shortage []string // what must have fired and has not, a sentence each
}

// WasActive reports whether the entry ever became active.
func (e *EntryResult) WasActive() bool { return len(e.Stats.Rules) > 0 }

// ProbeResult is what a probe has shown.
type ProbeResult struct {
	Probe *Probe

	Before, After Outcome
	During        bool          // it was asked during the timeline
	Tried, Failed uint64        // then
	Recovered     time.Duration // how long after the timeline it was asked for the last time
	Begun         time.Time     // of the first try; zero: it was never asked
	Took          time.Duration // from then to the end of the last
	Failures      []string      // what it has shown that must not be, a sentence each; none: it held
}

// Outcome is what the last try of a phase came to.
type Outcome struct {
	Tried bool
	Err   error
}

// When says in words at which times an entry is active.
func (e *Entry) When() string {
	text := fmt.Sprintf("from %s to %s", e.Start, e.Start+e.Duration)
	if p := e.Pulse; p != nil {
		text += fmt.Sprintf(", on for %s and off for %s in turn", p.On, p.Off)
	}
	if r := e.Ramp; r != nil {
		text += fmt.Sprintf(", %g%% to %g%% of the connections within %s", float64(r.From), float64(r.To), r.Over)
	}
	return text
}

// Holds says in words what a scenario that ended well has shown.
func (r *Result) Holds() string {
	fired, none, prevented := "every fault fired", true, false
	for _, e := range r.Entries {
		switch {
		case experiment.Idle(e.Stats):
			fired = "every fault fired that must"
		default:
			none = false
			prevented = prevented || e.judged().Verdict == outcome.Prevented
		}
	}
	if prevented {
		fired += ", or the clients prevented it"
	}
	if none {
		fired = "no fault fired, and none had to, so it shows nothing of them"
	}
	if len(r.Probes) == 0 {
		return fired + "; no probe was there to fail"
	}
	return fired + ", and every probe passed as often as it must"
}

// Flaws says in a sentence each what the runs could not judge, follow or tell.
func (r *Result) Flaws() []string {
	var all injector.Snapshot
	for _, e := range r.Entries {
		s := e.Stats
		s.Rules = nil // they are of other faults
		all = all.Plus(s)
	}
	return experiment.Flaws(all)
}
