package report

import (
	"fmt"
	"time"
)

// axis is the time axis that several timelines share: where on it a moment is, and
// at which moments it has the time of day.
type axis struct {
	first, last time.Time
	Ticks       []tick
}

// tick is a moment with its time of day.
type tick struct {
	X, Clock string
	Odd      bool // every second one, which a narrow page leaves out
}

// The part of the width that the axis takes, in per cent: clock times stick out.
const (
	axisFrom  = 4.0
	axisWidth = 92.0
)

// mostTicks is how many clock times fit beside each other on a wide page.
const mostTicks = 8

// steps are the distances that ticks may have.
var steps = func() (all []time.Duration) {
	for unit := time.Millisecond; unit < time.Second; unit *= 10 {
		all = append(all, unit, 2*unit, 5*unit)
	}
	for _, n := range []time.Duration{1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 6 * 3600, 12 * 3600, 24 * 3600} {
		all = append(all, n*time.Second)
	}
	return all
}()

// newAxis is the axis for what lies between two moments.
func newAxis(first, last time.Time) axis {
	a := axis{first: first, last: last}
	if last.Sub(first) < time.Millisecond {
		a.last = first.Add(time.Millisecond)
	}
	width := a.last.Sub(a.first)
	step := (width/mostTicks + 24*time.Hour).Truncate(24 * time.Hour)
	for _, s := range steps {
		if width/s < mostTicks {
			step = s
			break
		}
	}
	format := "15:04:05"
	switch {
	case step < 10*time.Millisecond:
		format = "15:04:05.000"
	case step < 100*time.Millisecond:
		format = "15:04:05.00"
	case step < time.Second:
		format = "15:04:05.0"
	case step >= 24*time.Hour:
		format = "Jan 2"
	case step >= time.Minute:
		format = "15:04"
	}
	// Ticks are at round times of the day where the run was, not of UTC.
	_, offset := a.first.Zone()
	shift := time.Duration(offset) * time.Second
	at := a.first.Add(shift).Truncate(step).Add(-shift)
	for ; !at.After(a.last); at = at.Add(step) {
		if !at.Before(a.first) {
			a.Ticks = append(a.Ticks, tick{X: a.place(at), Clock: at.Format(format), Odd: len(a.Ticks)%2 == 1})
		}
	}
	return a
}

// share is where a moment lies between the ends of the axis, from 0 to 1.
func (a *axis) share(t time.Time) float64 {
	return max(0, min(1, float64(t.Sub(a.first))/float64(a.last.Sub(a.first))))
}

// place is where a moment is, in per cent of the width.
func (a *axis) place(t time.Time) string { return fmt.Sprintf("%.2f%%", axisFrom+axisWidth*a.share(t)) }

// length is how much of the width lies between two moments, in per cent.
func (a *axis) length(from, to time.Time) string {
	return fmt.Sprintf("%.2f%%", max(0.15, axisWidth*(a.share(to)-a.share(from))))
}
