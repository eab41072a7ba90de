package experiment

import (
	"context"
	"errors"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/injector"
)

// NewCage makes the cage of one command of the plan. The error says what a user
// can do where there can be none.
func (p *Plan) NewCage() (place.Cage, error) {
	in, err := p.sys.MakeCage(p.cfg.NetNS)
	if errors.Is(err, injector.ErrPermission) || errors.Is(err, injector.ErrNotSupported) {
		return nil, event.Preflightf("", "%w", err).WithAdvice("As root the command runs in a cgroup v2 of its own, so that its connections can be told apart. " +
			"Where there can be none, --isolate runs it in a network namespace of its own instead: it then reaches only services that it starts itself. " +
			"ip netns exec NAME hides the cgroups that there are: faultctl run --netns NAME does without it.")
	}
	return in, err
}

// RunAlone runs the command of the plan in a cage, and nothing else happens. It
// ends the command when ctx is done.
func (p *Plan) RunAlone(ctx context.Context, st place.Stage) (place.JobEnd, error) {
	j, err := p.sys.StartJob(st, p.Spec.Command)
	if err != nil {
		return place.JobEnd{}, err
	}
	return j.Wait(ctx, nil, st.Limit)
}

// RunCommand runs the command of the plan under its faults, and returns when
// both are over. The command starts when the rules are in, or healthy, before
// Spec.StartAfter is over. It is ended when ctx is done or the run breaks; the
// run ends with it. Nothing ran if the error is of the beginning.
func (p *Plan) RunCommand(ctx context.Context, st place.Stage) (end place.JobEnd, result Result, err error) {
	// The target is looked up anew while it runs, and is the command's then too.
	m := p.matcher()
	m.Owner = st.Cage.Owner()
	p.moved.Store(&m)
	p.cfg.NetNS = st.Cage.NetNS()
	jobCtx, endJob := context.WithCancel(ctx)
	defer endJob()
	runCtx, endRun := context.WithCancel(ctx)
	defer endRun()
	var ended chan error // of the command, once it was started
	launch := func(r *Run) error {
		var j *place.Job
		if err := r.emitAfter(func() (err error) {
			j, err = p.sys.StartJob(st, p.Spec.Command)
			return err
		}, p.sys.Now(), event.Command{Command: p.Spec.Command}); err != nil {
			return err
		}
		ended = make(chan error, 1)
		go func() {
			var err error
			end, err = j.Wait(jobCtx, st.Signals, st.Limit)
			r.emit(p.sys.Now(), event.Exited{Status: end.Status, How: end.How})
			ended <- err
			endRun()
		}()
		return nil
	}
	var r *Run
	if p.Spec.StartAfter > 0 { // the command goes first, healthy
		r, err = start(runCtx, p, launch)
	} else if r, err = start(runCtx, p, nil); err == nil {
		select { // the engine tells of ready a moment after it has started
		case <-r.ready.c:
		case <-r.done: // it was ended before
		}
		if r.ready.isSet() {
			err = launch(r)
		}
		if err != nil {
			endRun()
		}
	}
	if r != nil {
		var broke error
		result, broke = r.Wait()
		err = errors.Join(err, broke)
	}
	if err != nil {
		endJob()
	}
	if ended != nil {
		err = errors.Join(err, <-ended)
	}
	return end, result, err
}
