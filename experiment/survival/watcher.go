package survival

import (
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/injector"
)

// A Watcher gets the progress of a Run. No two of its methods are called at the same
// time, and the Run continues when they return: Started once, then Running for each
// run of the command and Result when a case has been tried, and Ended once. If the
// run without a fault fails for a reason in faultctl itself, Ended is not called.
//
// Where cases run side by side, Running is called when one begins. The events and
// the result of a case are told after the results of all cases before it in the
// plan, so that they come in the same order each time.
type Watcher interface {
	// Started says that the Run begins. See Plan.Started for its event.
	Started(p *Plan)

	// Running says that a run of the command is about to begin; without a fault,
	// that so many begin as run side by side.
	Running(a Attempt)

	// Event gets the events of a run under a case, between its Running and the
	// Result. The first is an event.Case. Packets never wait for it. If it is too
	// slow, events are lost, and counted; so are those of a case that has very many
	// before its turn comes: an event.Lost says that.
	Event(at time.Time, e event.Event)

	// Result gets the result of a case, also if it was not tried. See
	// Result.Event for its event.
	Result(r Result)

	// Ended gets all cases, as Run returns them. See Verified for its event.
	Ended(cases []report.Case)
}

// An Attempt is one run of the command.
type Attempt struct {
	Nth  int    // the case, counted from 1; zero is the run without a fault
	Name string // of the case

	// Limit is how long the command may run; zero is without a limit.
	Limit time.Duration

	// Plan is what the run carries out; nil without a fault. The watcher may
	// observe it, and have it choose certain connections.
	Plan *experiment.Plan

	// Jobs is how many cases are tried at the same time.
	Jobs int

	// Over is closed when the run has ended.
	Over <-chan struct{}

	// Stats are the counters of the run; all zero before its rules go in, and
	// without a fault. Any goroutine may call it, at any time.
	Stats func() injector.Snapshot
}

// A Result is the result of a case.
type Result struct {
	report.Case

	// Stats are the counters of its last run; the zero Snapshot if there was no
	// run.
	Stats injector.Snapshot

	// Repeat is one line that repeats its last run alone; empty if there was none
	// under a fault.
	Repeat string
}
