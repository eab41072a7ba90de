package cli

import (
	"context"
	"errors"
	"fmt"
)

// verdict is the exit code, and why it is that.
func (st *staging) verdict(ctx context.Context, err error) (code int, why []string) {
	var sig signalled
	var abort aborted
	switch {
	case errors.As(err, &sig):
		return 128 + int(sig), []string{"ended by a signal: " + sig.Error()}
	case errors.Is(err, errDeadline):
		return exitFailure, []string{fmt.Sprintf("the deadline of %s came before the end", shortly(st.s.Deadline))}
	case errors.Is(err, errUnsteady):
		why = append(why, errUnsteady.Error())
	case errors.As(err, &abort):
		why = append(why, "aborted: "+abort.Error())
	case err != nil:
		return exitCode(err), []string{err.Error()}
	}
	for _, a := range st.asked {
		why = append(why, a.failures()...)
	}
	if len(why) > 0 {
		return exitProbe, why
	}
	if !st.idle {
		why = st.unfired()
	}
	if len(why) > 0 {
		return exitNotFired, why
	}
	return exitOK, nil
}

// failures says what a probe has shown that must not be.
func (a *asked) failures() (why []string) {
	if a.before != nil {
		why = append(why, fmt.Sprintf("%s failed before: %v", a.probe.Name, a.before))
	}
	if !a.watch.Held() {
		why = append(why, fmt.Sprintf("%s failed %d of %d times during the timeline, and %v is tolerated", a.probe.Name, a.watch.Failed, a.watch.Tried, a.probe.Tolerance))
	}
	if a.after != nil {
		why = append(why, fmt.Sprintf("%s has not recovered within %s: %v", a.probe.Name, shortly(*a.probe.Recovery), a.after))
	}
	return why
}

// unfired lists the faults that acted on fewer connections than they must.
func (st *staging) unfired() (why []string) {
	for _, a := range st.acts {
		why = append(why, a.unfired()...)
	}
	return why
}

// unfired lists the faults of an entry that did.
func (a *act) unfired() (why []string) {
	must := a.entry.MustFire.N
	if must == 0 {
		return nil
	}
	if len(a.sum.Rules) == 0 {
		return []string{a.entry.Name + " never was at work"}
	}
	for _, f := range a.sum.Rules[0].Faults {
		switch {
		case f.Fired == 0:
			why = append(why, fmt.Sprintf("%s never fired: %s", f.Name, whyNot(a.plan, a.sum.Rules[0], f.Name)))
		case f.Fired < must:
			why = append(why, fmt.Sprintf("%s fired on %s, and must on %d", f.Name, plural(f.Fired, "connection"), must))
		}
	}
	return why
}
