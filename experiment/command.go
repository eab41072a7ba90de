package experiment

import (
	"context"
	"errors"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/injector"
)

// NewCage makes the cage of one command of the plan. If that is not possible,
// the error says what the user can do instead.
func (p *Plan) NewCage() (place.Cage, error) {
	in, err := p.sys.MakeCage(p.cfg.NetNS)
	if errors.Is(err, injector.ErrPermission) || errors.Is(err, injector.ErrNotSupported) {
		return nil, event.Preflightf("", "%w", err).WithAdvice("The command needs a cgroup v2 of its own: in the machine's own network namespace its connections cannot be told from those of others otherwise. " +
			"Make cgroup v2 writable, or run faultctl in a container with a network of its own, where every connection counts as the command's. " +
			"--isolate runs the command in a network namespace of its own: it then reaches only services that it starts itself.")
	}
	return in, err
}

// RunAlone runs the command of the plan in a cage, without faults. It ends the
// command when ctx is done.
func (p *Plan) RunAlone(ctx context.Context, st place.Stage) (place.JobEnd, error) {
	st.As = p.account
	j, err := p.sys.StartJob(st, p.Spec.Command)
	if err != nil {
		return place.JobEnd{}, err
	}
	return j.Wait(ctx, nil, st.Limit)
}

// RunCommand runs the command of the plan under its faults, and returns when
// both are over. The command starts when the rules are installed; with
// Spec.StartAfter it starts that long before the faults. The command is ended
// when ctx is done or the run breaks, and the run ends with the command. If
// the run cannot start, the command does not run either.
func (p *Plan) RunCommand(ctx context.Context, st place.Stage) (end place.JobEnd, result Result, err error) {
	// The target stays restricted to the command when its names are looked up again.
	p.caged = new(st.Cage.Owner())
	p.cfg.NetNS = st.Cage.NetNS()
	st.As = p.account
	jobCtx, endJob := context.WithCancel(ctx)
	defer endJob()
	runCtx, endRun := context.WithCancel(ctx)
	defer endRun()
	var ended chan error // the command's, once it was started
	launch := func(r *Run) error {
		var j *place.Job
		if err := r.emitAfter(func() (err error) {
			j, err = p.sys.StartJob(st, p.Spec.Command)
			return err
		}, p.sys.Now(), event.Command{Command: p.ShownCommand()}); err != nil {
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
	if p.Spec.StartAfter > 0 { // the command runs without faults first
		r, err = start(runCtx, p, launch)
	} else if r, err = start(runCtx, p, nil); err == nil {
		select { // the engine reports ready shortly after Start returns
		case <-r.ready.c:
		case <-r.done: // the run ended before that
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
		if len(result.Stats.Rules) > 0 && result.Stats.Rules[0].Flows == 0 {
			result.Held, _ = p.others()
		}
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
