package control

import (
	"cmp"
	"context"
	"errors"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/faults/outcome"
)

// Judged is what is said of a fault of a run that has ended.
type Judged struct {
	Fault   string `json:"fault" example:"reset"`
	Fired   uint64 `json:"fired" doc:"Connections on which it acted."`
	Verdict string `json:"verdict" enum:"fired,prevented,never fired,not accepted,unfelt,not known,not conclusive" doc:"As docs/VERDICTS.md has it."`
	Idle    bool   `json:"idle" doc:"Nothing was learnt of it: it never fired, it was not accepted, or the run is not conclusive. A test that needs the fault fails."`
	Why     string `json:"why,omitempty" doc:"Why that is so, and what to do."`
}

// Why a run has ended.
const (
	EndStopped  = "stopped"
	EndLease    = "lease"
	EndDuration = "duration"
	EndError    = "error"
)

// mostEnded is how many runs that have ended are remembered for those who ask how.
const mostEnded = 256

// ended remembers how runs ended, each until it is asked, under its name.
type ended struct {
	runs  map[string]Experiment
	order []string // the oldest first
}

func (d *ended) add(x Experiment) {
	if d.runs == nil {
		d.runs = map[string]Experiment{}
	}
	if _, is := d.runs[x.Name]; !is {
		d.order = append(d.order, x.Name)
	}
	d.runs[x.Name] = x
	for len(d.order) > mostEnded {
		delete(d.runs, d.order[0])
		d.order = d.order[1:]
	}
}

func (d *ended) take(name string) (x Experiment, is bool) {
	if x, is = d.runs[name]; is {
		delete(d.runs, name)
		for i, n := range d.order {
			if n == name {
				d.order = append(d.order[:i], d.order[i+1:]...)
				break
			}
		}
	}
	return x, is
}

// describeEnd is a run that is over. end is why, if that is known.
func (e *entry) describeEnd(g *Registry, end string) Experiment {
	x := e.describe(g)
	result, err := e.run.Wait()
	switch {
	case err != nil:
		end = EndError
	case errors.Is(result.Cause, experiment.ErrTimeUp):
		end = EndDuration
	}
	x.End, x.Lease, x.Judged = cmp.Or(end, EndStopped), nil, []Judged{}
	spec := e.run.Spec()
	for _, j := range spec.Judge(result.Stats, outcome.NoCommand).Faults {
		one := Judged{Fault: j.Fault, Fired: experiment.Strikes(j.Stats), Verdict: j.Verdict.String(), Why: e.run.Plan().WhyFault(result, j)}
		switch j.Verdict {
		case outcome.NeverFired, outcome.Unaccepted, outcome.Inconclusive:
			one.Idle = true
		}
		x.Judged = append(x.Judged, one)
	}
	return x
}

// finish stops a run, waits until everything is as it was before, and says how it
// ended. A run that somebody asked for may have ended already: how it did is told
// once.
func (g *Registry) finish(ctx context.Context, name string, by *event.Actor) (x Experiment, err error) {
	if g.starter != nil {
		if o := g.starter.asked(name); o != nil {
			o.run.StopBy(by)
			select {
			case <-o.told:
			case <-ctx.Done():
				return x, ctx.Err()
			}
		}
		g.starter.mu.Lock()
		x, is := g.starter.ended.take(name)
		g.starter.mu.Unlock()
		if is {
			return x, nil
		}
	}
	e, err := g.find(name)
	if err != nil {
		return x, err
	}
	e.run.StopBy(by)
	select {
	case <-e.run.Done():
		return e.describeEnd(g, ""), nil
	case <-ctx.Done():
		return x, ctx.Err()
	}
}
