package survival

import (
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/injector"
)

// A Watcher is told how a Run goes on. All but Event are called by the goroutine
// that called Run, which goes on when they return: Started once, then Running for
// each run of the command and Result when a case has been tried, and Ended once.
// A Run that fails without a fault for a reason of faultctl's own has no Ended.
type Watcher interface {
	// Started says that the Run begins. See Plan.Started for its event.
	Started(p *Plan)

	// Running says that a run of the command is about to begin.
	Running(a Attempt)

	// Event says what happens in a run under a case, between its Running and what
	// is called next. It begins with an event.Case. One goroutine calls it at a
	// time, and packets never wait for it. When it is slower than the events some
	// are lost, and counted.
	Event(at time.Time, e event.Event)

	// Result says what became of a case, of one that was not tried too. See
	// Result.Event for its event.
	Result(r Result)

	// Ended is told of all cases, as Run returns them. See Verified for its event.
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

	// Stats are the counters of the run; all zero before its rules go in, and
	// without a fault. Any goroutine may call it, at any time.
	Stats func() injector.Snapshot
}

// A Result is what became of a case.
type Result struct {
	report.Case

	// Stats are the counters of its last run; the zero Snapshot if it did not
	// come to one.
	Stats injector.Snapshot

	// Repeat is one line that repeats its last run alone; empty if there was none
	// under a fault.
	Repeat string
}
