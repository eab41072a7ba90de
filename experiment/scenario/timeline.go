package scenario

import (
	"cmp"
	"slices"
	"time"
)

// Action is what happens to an entry at a moment.
type Action int

// The actions, in the order in which they are done at the same moment.
const (
	Stop Action = iota
	Start
	Share
)

func (a Action) String() string { return [...]string{"stop", "start", "percent"}[a] }

// Step is one moment of the timeline.
type Step struct {
	At      time.Duration // since the timeline began
	Do      Action
	Fault   int     // the ordinal of its entry
	Pulse   int     // Start: how many there were before
	Percent float64 // Start, Share: which share is struck from now on; negative: the target's own share
}

// Timeline lists what happens when, in order. Each Start has its Stop.
func (s *Scenario) Timeline() []Step {
	var steps []Step
	for i := range s.Faults {
		steps = append(steps, s.Faults[i].steps(i)...)
	}
	slices.SortStableFunc(steps, func(a, b Step) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Do, b.Do), cmp.Compare(a.Fault, b.Fault))
	})
	return steps
}

func (f *Entry) steps(n int) []Step {
	begin, end := time.Duration(f.Start), time.Duration(f.Start+f.Duration)
	if f.Pulse == nil {
		return f.pulse(n, 0, begin, end)
	}
	var steps []Step
	on, period := time.Duration(f.Pulse.On), time.Duration(f.Pulse.On+f.Pulse.Off)
	for k, at := 0, begin; at < end; k, at = k+1, at+period {
		steps = append(steps, f.pulse(n, k, at, min(at+on, end))...)
	}
	return steps
}

// pulse returns the steps of a fault that is active from one moment to
// another.
func (f *Entry) pulse(n, k int, from, to time.Duration) []Step {
	steps := []Step{
		{At: from, Do: Start, Fault: n, Pulse: k, Percent: f.percentAt(from)},
		{At: to, Do: Stop, Fault: n},
	}
	if f.Ramp == nil {
		return steps
	}
	for r := 1; r <= f.Ramp.Steps; r++ {
		at := time.Duration(f.Start) + time.Duration(f.Ramp.Over)*time.Duration(r)/time.Duration(f.Ramp.Steps)
		if at > from && at < to {
			steps = append(steps, Step{At: at, Do: Share, Fault: n, Percent: f.percentAt(at)})
		}
	}
	return steps
}

// percentAt is the share that the ramp has reached, or -1 without one.
func (f *Entry) percentAt(at time.Duration) float64 {
	r := f.Ramp
	if r == nil {
		return -1
	}
	done := int((at - time.Duration(f.Start)) * time.Duration(r.Steps) / time.Duration(r.Over))
	done = min(done, r.Steps)
	return float64(r.From) + (float64(r.To)-float64(r.From))*float64(done)/float64(r.Steps)
}
