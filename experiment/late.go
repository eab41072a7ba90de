package experiment

import (
	"fmt"
	"strings"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/internal/words"
)

// Bounds of Late, beside injector.LateAfter and injector.TooLateAfter.
const (
	lateShare = 100 // one verdict in so many may be late
	lateFew   = 10  // and that many in any case: a machine that stalled once
)

// Late is how late the verdicts on packets were. A verdict is as late as its packet had
// to wait for it; of a packet that a fault held back, beyond the time that the fault
// wanted. Such a wait is none of the fault's doing, and TCP reacts to it.
type Late struct {
	Verdicts uint64        // that were given
	Most     time.Duration // 99 in 100 of them were no later; a bound of the histogram
	Worst    time.Duration // the latest
	Late     uint64        // by more than injector.LateAfter
	TooLate  uint64        // by more than injector.TooLateAfter
	Unjudged uint64        // packets that passed because faultctl did not keep up
}

// LateOf says how late verdicts were in runs with these counters.
func LateOf(s injector.Snapshot) Late {
	h := s.Latency
	return Late{
		Verdicts: h.Count(), Most: h.Within(0.99), Worst: h.Max, Late: h.Over(injector.LateAfter), TooLate: h.Over(injector.TooLateAfter),
		Unjudged: s.Shed + s.Overruns,
	}
}

// Inconclusive reports whether what happened cannot be put down to the faults: packets
// passed unjudged, or verdicts were later than docs/VERDICTS.md allows.
func (l Late) Inconclusive() bool {
	return l.Unjudged > 0 || l.TooLate > 0 || l.Late > lateFew && l.Late*lateShare > l.Verdicts
}

// String says how late they were. It is empty if there was no verdict.
func (l Late) String() string {
	if l.Verdicts == 0 {
		return ""
	}
	return fmt.Sprintf("99 %% of the verdicts came within %v, the latest after %v", round(l.Most), round(l.Worst))
}

// Reason says why the run is not conclusive. It is empty if it is.
func (l Late) Reason() string {
	if !l.Inconclusive() {
		return ""
	}
	var all []string
	if l.Unjudged > 0 {
		all = append(all, words.Plural(l.Unjudged, "packet")+" passed unjudged")
	}
	if l.Late > 0 {
		all = append(all, fmt.Sprintf("%s of %d came more than %v late, the latest after %v", words.Plural(l.Late, "verdict"), l.Verdicts, injector.LateAfter, round(l.Worst)))
	}
	return "faultctl did not keep up: " + strings.Join(all, ", and ")
}

// MayBeWhy says that the command may have failed because of it.
func MayBeWhy(l Late) string {
	return "That may be why: " + l.Reason() + ". Repeat the run with more of a processor for faultctl."
}

// event is what an event has of it.
func (l Late) event() event.Lateness {
	e := event.Lateness{Late: l.Late, Inconclusive: l.Reason()}
	if l.Verdicts > 0 {
		e.Most, e.Worst = round(l.Most).String(), round(l.Worst).String()
	}
	return e
}

// round is a time to three digits or so.
func round(d time.Duration) time.Duration {
	switch {
	case d >= 100*time.Millisecond:
		return d.Round(time.Millisecond)
	case d >= time.Millisecond:
		return d.Round(100 * time.Microsecond)
	}
	return d.Round(time.Microsecond)
}
