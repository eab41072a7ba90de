package scenario

import (
	"fmt"
	"time"

	"github.com/faultctl/faultctl/internal/words"
)

// A Watch counts the failed tries of a probe during the timeline and decides
// when they are too many. One goroutine uses it.
type Watch struct {
	Tried, Failed uint64

	tolerance Tolerance
	aborts    []Abort
	row       int           // failures since it last passed
	since     time.Duration // when the first of them began
}

// NewWatch begins to watch a probe.
func (s *Scenario) NewWatch(p *Probe) *Watch {
	w := &Watch{tolerance: p.Tolerance}
	for _, a := range s.Abort {
		if a.Probe == p.Name {
			w.aborts = append(w.aborts, a)
		}
	}
	return w
}

// Note records a try that began and ended at these times of the timeline. It
// returns why the scenario must be aborted now, or an empty string.
func (w *Watch) Note(began, ended time.Duration, passed bool) (abort string) {
	w.Tried++
	if passed {
		w.row = 0
		return ""
	}
	w.Failed++
	if w.row == 0 {
		w.since = began
	}
	w.row++
	for _, a := range w.aborts {
		if a.Failures > 0 && w.row >= a.Failures {
			return fmt.Sprintf("it failed %s", times(w.row, "in a row"))
		}
		if a.FailingFor > 0 && ended-w.since >= time.Duration(a.FailingFor) {
			return fmt.Sprintf("it has not passed for %s", words.ShortDuration(time.Duration(a.FailingFor)))
		}
	}
	return ""
}

func times(n int, how string) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times %s", n, how)
}

// Held reports whether the number of failed tries is within the tolerance.
func (w *Watch) Held() bool {
	if w.tolerance.Share > 0 {
		return float64(w.Failed) <= w.tolerance.Share*float64(w.Tried)
	}
	return w.Failed <= w.tolerance.Tries
}
