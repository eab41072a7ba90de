package experiment

import (
	"context"
	"fmt"
	"slices"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
)

// changeable are the words that Update can change while a run goes on.
var changeable = []string{"to", "from", "percent"}

// Update has the run do what next says from now on. What may differ from
// [Run.Spec] are the service ends and clients of the target, its share
// (percent), and the settings of the same faults, where the fault allows it.
// Each of these changes is atomic: a packet is judged by what was before or by
// what is now, and none is lost. Connections that were chosen stay so. The error
// is event.Problems about what cannot be changed, and then nothing was; or of a
// change that the kernel refused.
func (r *Run) Update(ctx context.Context, next Spec) error {
	r.change.Lock()
	defer r.change.Unlock()
	now := r.Spec()
	if problems := next.Validate(); len(problems) > 0 {
		return problems
	}
	set, problems := now.changes(&next)
	if len(problems) > 0 {
		return problems
	}
	if len(set) == 0 {
		return nil
	}
	if err := r.apply(ctx, &now, &next, set); err != nil {
		return err
	}
	r.mu.Lock()
	r.spec = next.Clone()
	r.mu.Unlock()
	e := event.Changed{}
	for _, c := range set {
		e.Set = append(e.Set, c.String())
	}
	r.emit(r.sys.Now(), e)
	return nil
}

// changed is something that an update changes.
type changed struct {
	word  string // of the Spec, or fault.KNOB
	value string
}

func (c changed) String() string { return c.word + "=" + c.value }

// changes lists what next says that s does not. Problems are about what cannot
// change while a run goes on.
func (s *Spec) changes(next *Spec) (set []changed, problems event.Problems) {
	for _, w := range Words {
		was, is := w.get(s), w.get(next)
		switch {
		case slices.Equal(was, is):
		case w.Name == "seed" && is == nil: // the run drew one
		case slices.Contains(changeable, w.Name):
			for _, v := range is {
				set = append(set, changed{w.Name, v})
			}
			if is == nil {
				set = append(set, changed{w.Name, ""})
			}
		default:
			problems = append(problems, usage(event.Field(w.Name), "cannot be changed while the run goes on").
				WithAdvice("What can be changed: to, from, percent, and the settings of its faults. Stop the run and start another for the rest."))
		}
	}
	if len(s.Faults) != len(next.Faults) {
		return set, append(problems, usage("fault", "a run keeps its faults: it has %d, and was given %d", len(s.Faults), len(next.Faults)))
	}
	for i, f := range s.Faults {
		g := next.Faults[i]
		if f.Name != g.Name {
			problems = append(problems, usage("fault", "a run keeps its faults: %s cannot become %s", f.Name, g.Name))
			continue
		}
		for _, k := range knobsChanged(f, g) {
			set = append(set, changed{"fault." + k[0], k[1]})
		}
	}
	if !slices.Equal(s.Command, next.Command) {
		problems = append(problems, usage("command", "cannot be changed while the run goes on"))
	}
	return set, problems
}

// knobsChanged lists the settings of g that f has not, or has another value of.
func knobsChanged(f, g faults.Spec) (ks [][2]string) {
	value := func(s faults.Spec, name string) (v string) {
		if kind, err := faults.Find(s.Name); err == nil {
			v, _ = faults.Get(kind.New(), name)
		}
		for _, k := range s.Knobs {
			if k[0] == name {
				v = k[1]
			}
		}
		return v
	}
	f, g = f.Canonical(), g.Canonical()
	for _, k := range slices.Concat(f.Knobs, g.Knobs) {
		now := [2]string{k[0], value(g, k[0])}
		if value(f, k[0]) != now[1] && !slices.Contains(ks, now) {
			ks = append(ks, now)
		}
	}
	return ks
}

// apply makes the changes, in an order in which a failure leaves the run as it
// was: what the injector may refuse comes first.
func (r *Run) apply(ctx context.Context, now, next *Spec, set []changed) error {
	has := func(words ...string) bool {
		return slices.ContainsFunc(set, func(c changed) bool { return slices.Contains(words, c.word) })
	}
	if slices.ContainsFunc(set, func(c changed) bool { return !slices.Contains(changeable, c.word) }) {
		models, problems := next.models()
		if len(problems) > 0 {
			return problems
		}
		if err := r.setModels(models); err != nil {
			return err
		}
	}
	if has("to", "from") {
		if err := r.aim(ctx, next); err != nil {
			return err
		}
	}
	if has("percent") {
		return r.setShare(next.Target.Pick().Share)
	}
	return nil
}

// aim has the run match what next names.
func (r *Run) aim(ctx context.Context, next *Spec) error {
	lookup := r.sys.Lookup
	if r.plan.names != nil {
		lookup = r.plan.names.lookup
	}
	m, problems := readMatcher(ctx, &next.Target, lookup)
	if len(problems) > 0 {
		return problems
	}
	m.Owner, m.Except = r.matcher().Owner, append(m.Except, r.plan.spared...)
	for _, c := range r.plan.Protected {
		if m.Names(c) {
			return protectedError(c)
		}
	}
	return r.retarget(m)
}

// SetShare changes which share of the connections is struck, from 0 to 1: see
// injector.SetShare.
func (r *Run) SetShare(share float64) error {
	next := r.Spec()
	percent := share * 100
	next.Target.Percent = &percent
	return r.Update(context.Background(), next)
}

func (r *Run) setShare(share target.Share) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.engine != nil {
		if err := r.engine.SetShare(0, share.Chance()); err != nil {
			return fmt.Errorf("change the share: %w", err)
		}
	}
	r.match.pick.Share = share
	return nil
}

func (r *Run) setModels(models []injector.NamedModel) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.engine != nil {
		if err := r.engine.SetModels(0, models); err != nil {
			return usage("fault", "%w", err).WithAdvice("Stop the run, and start another with these settings.")
		}
	}
	r.match.models = models
	return nil
}

// Pause has the run judge nothing until Resume: what is held leaves in its order
// first. The run's duration goes on. Pausing a paused run does nothing.
func (r *Run) Pause() error {
	return r.setPaused(true, Engine.Pause, event.Paused{})
}

// Resume has a paused run judge again, from the next matching packet on.
// Connections that were chosen before are struck again, as if they were new.
func (r *Run) Resume() error {
	return r.setPaused(false, Engine.Resume, event.Resumed{})
}

func (r *Run) setPaused(paused bool, do func(Engine) error, e event.Event) error {
	r.change.Lock()
	defer r.change.Unlock()
	r.mu.Lock()
	was, engine := r.paused, r.engine
	r.mu.Unlock()
	if was == paused {
		return nil
	}
	if engine != nil {
		if err := do(engine); err != nil {
			return err
		}
	}
	r.mu.Lock()
	r.paused = paused
	r.mu.Unlock()
	r.emit(r.sys.Now(), e)
	return nil
}
