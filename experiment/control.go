package experiment

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
)

// changeable are the words that Update can change during a run.
var changeable = []string{"to", "from", "percent"}

// ErrEnded is the error of a change to a run that has ended.
var ErrEnded = errors.New("the run is over")

// Update changes the run to what next says. next may differ from [Run.Spec] in the
// service ends and clients of the target, in its share (percent), and in the
// settings of the same faults, where the fault allows it. If next has no seed, the
// run keeps its own. Each of these changes is atomic: a packet is judged by the old
// or by the new settings, and none is lost. Connections that were chosen stay
// chosen. The error is event.Problems about what cannot be changed, ErrEnded, or
// that of a change that was refused; then nothing has changed. If earlier changes
// could not be undone after a refusal, the error says so.
func (r *Run) Update(ctx context.Context, next Spec) error { return r.UpdateBy(ctx, nil, next) }

// UpdateBy is Update, and its event says who asked for it; nil is the program
// itself.
func (r *Run) UpdateBy(ctx context.Context, by *event.Actor, next Spec) error {
	r.change.Lock()
	defer r.change.Unlock()
	return r.update(ctx, by, next.Clone())
}

// update is UpdateBy; the caller holds change, and must not use next
// afterwards.
func (r *Run) update(ctx context.Context, by *event.Actor, next Spec) error {
	if r.over() {
		return ErrEnded
	}
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
	if err := r.apply(ctx, by, &next, set); err != nil {
		return err
	}
	next.Seed = now.Seed
	r.mu.Lock()
	r.spec = next
	r.mu.Unlock()
	e := event.Changed{By: by}
	for _, c := range set {
		e.Set = append(e.Set, c.String())
	}
	r.emit(r.sys.Now(), e)
	return nil
}

// over reports whether the run has ended.
func (r *Run) over() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// changed is something that an update changes.
type changed struct {
	word  string // of the Spec, or fault.KNOB
	value string
}

func (c changed) String() string { return c.word + "=" + c.value }

// changes lists what is different in next. The problems are about what cannot
// change during a run.
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

// knobsChanged lists the settings of g that f does not have, or has with
// another value.
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

// apply makes all the changes, or none if one is refused.
func (r *Run) apply(ctx context.Context, by *event.Actor, next *Spec, set []changed) (err error) {
	has := func(words ...string) bool {
		return slices.ContainsFunc(set, func(c changed) bool { return slices.Contains(words, c.word) })
	}
	r.mu.Lock()
	was := r.match
	r.mu.Unlock()
	is := was
	if slices.ContainsFunc(set, func(c changed) bool { return !slices.Contains(changeable, c.word) }) {
		var problems event.Problems
		if is.models, problems = next.models(); len(problems) > 0 {
			return problems
		}
	}
	if has("to", "from") {
		if is.matcher, err = r.aim(ctx, next); err != nil {
			return err
		}
	}
	if err := r.sys.allowed(by, next, &is.matcher, r.plan.Duration(), len(next.Command) > 0 && !r.plan.shared); err != nil {
		return err
	}
	is.pick.Share = next.Target.Pick().Share
	steps := []struct {
		changes bool
		do      func(matchState) error
	}{ // changes that are refused most often come first
		{!reflect.DeepEqual(was.models, is.models), func(m matchState) error { return r.setModels(m.models) }},
		{!reflect.DeepEqual(was.matcher, is.matcher), func(m matchState) error { return r.retarget(m.matcher) }},
		{was.pick.Share != is.pick.Share, func(m matchState) error { return r.setShare(m.pick.Share) }},
	}
	for n, step := range steps {
		if !step.changes {
			continue
		}
		if err := step.do(is); err != nil {
			for _, done := range slices.Backward(steps[:n]) {
				if done.changes {
					if back := done.do(was); back != nil {
						err = errors.Join(err, fmt.Errorf("what was changed before that is not taken back: %w", back))
					}
				}
			}
			return err
		}
	}
	return nil
}

// aim returns the matcher for the target of next.
func (r *Run) aim(ctx context.Context, next *Spec) (target.Matcher, error) {
	m, problems := readMatcher(ctx, &next.Target, r.plan.names.lookup)
	if len(problems) > 0 {
		return m, problems
	}
	m.Owner, m.Except = r.matcher().Owner, append(m.Except, r.plan.spared...)
	for _, c := range r.plan.Protected {
		if m.Names(c) {
			return m, protectedError(c)
		}
	}
	return m, nil
}

// SetShare changes the share of the connections that is struck, from 0 to 1:
// see injector.SetShare. The error is that of Update.
func (r *Run) SetShare(share float64) error {
	r.change.Lock()
	defer r.change.Unlock()
	next := r.Spec()
	percent := math.Round(share*1e10) / 1e8 // 7, not 7.000000000000001
	next.Target.Percent = &percent
	return r.update(context.Background(), nil, next)
}

func (r *Run) setShare(share target.Share) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if was := r.match.pick.Share.Again(); share.Again() != was {
		return usage("percent", "how often a share is drawn again cannot be changed (%v)", was).
			WithAdvice("Stop the run and start another.")
	}
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

// Pause stops the faults until Resume: no packet is judged, and held packets leave
// in order first. The run's duration continues to count, and the run can still be
// changed. A run that follows a container stays paused when the container
// restarts. Pausing a paused run does nothing. The error is ErrEnded, or that of
// the engine; in that case the run is not paused.
func (r *Run) Pause() error { return r.PauseBy(nil) }

// PauseBy is Pause, and its event says who asked for it; nil is the program itself.
func (r *Run) PauseBy(by *event.Actor) error {
	return r.setPaused(true, Engine.Pause, event.Paused{By: by})
}

// Resume starts the faults of a paused run again, from the next matching packet
// on. Connections that were chosen before are struck again, as if they were
// new. Resuming a run that is not paused does nothing. The error is ErrEnded,
// or that of the engine; in that case the run is still paused.
func (r *Run) Resume() error { return r.ResumeBy(nil) }

// ResumeBy is Resume, and its event says who asked for it; nil is the program
// itself.
func (r *Run) ResumeBy(by *event.Actor) error {
	return r.setPaused(false, Engine.Resume, event.Resumed{By: by})
}

// Paused reports whether the run is paused.
func (r *Run) Paused() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.paused
}

func (r *Run) setPaused(paused bool, do func(Engine) error, e event.Event) error {
	r.change.Lock()
	defer r.change.Unlock()
	if r.over() {
		return ErrEnded
	}
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

// noRules are the counters of a run that has done nothing.
func noRules(s Spec) []injector.RuleStats {
	rule := injector.RuleStats{}
	for _, f := range s.Faults {
		rule.Faults = append(rule.Faults, injector.FaultStats{Name: f.Name})
	}
	return []injector.RuleStats{rule}
}
