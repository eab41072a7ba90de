package scenario

import (
	"errors"
	"fmt"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
)

// result is the result of a scenario whose phases returned err.
func (pl *player) result(err error) Result {
	r := Result{Took: pl.sys.Now().Sub(pl.began)}
	for _, e := range pl.entries {
		one := e.EntryResult
		one.shortage = one.unfired()
		r.Entries = append(r.Entries, one)
	}
	for _, p := range pl.probes {
		r.Probes = append(r.Probes, p.summary())
	}
	r.Code, r.Why, r.Err = pl.verdict(&r, err)
	return r
}

// verdict is the exit code, its reasons, and the error behind it if that is
// faultctl's own or the cause of the context.
func (pl *player) verdict(r *Result, err error) (code event.Code, why []string, own error) {
	var abort aborted
	switch {
	case errors.Is(err, errDeadline):
		return event.CodeFailure, []string{fmt.Sprintf("the deadline of %s came before the end", pl.Scenario.Deadline)}, nil
	case errors.Is(err, errUnsteady):
		why = append(why, errUnsteady.Error())
	case errors.As(err, &abort):
		why = append(why, "aborted: "+abort.Error())
	case err != nil:
		return experiment.CodeOf(err), []string{event.Render(err, spelling)}, err
	}
	for _, p := range r.Probes {
		why = append(why, p.Failures...)
	}
	if len(why) > 0 {
		return event.CodeProbe, why, nil
	}
	if !pl.AllowIdle {
		for _, e := range r.Entries {
			why = append(why, e.shortage...)
		}
	}
	if len(why) > 0 {
		return event.CodeNeverFired, why, nil
	}
	return event.CodeOK, nil, nil
}
