package injector

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/heap"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
)

// SetModels gives the faults of the rule of that ordinal new settings: models are the
// same faults in the same order. Each segment is judged by the settings before or by the
// new ones, all faults of the rule alike, on connections that are open too; from the
// moment it returns all are judged by the new ones. No packet is lost, what is held
// leaves when it was to, and what a fault knows of a connection it keeps. The kernel
// hands over what the new settings need from then on.
//
// The error is an ErrConfig, and nothing has changed, if models are others than the
// rule's, a setting is wrong, a fault whose settings are to change cannot do that while
// it is at work (see faults.Adjuster), or the new settings need packets handed over in
// another way than the run's queues do. Any goroutine may call it, during the run
// and after.
func (i *Injector) SetModels(rule int, models []NamedModel) error {
	if rule < 0 || rule >= len(i.rules) {
		return fmt.Errorf("%w: there is no rule %d", ErrConfig, rule)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.cfg.Rules[rule].Faults
	r := i.rules[rule]
	before := r.settings.Load()
	instances, err := restarted(now, models, before.instances)
	if err != nil {
		return err
	}
	i.cfg.Rules[rule].Faults = slices.Clone(models)
	if i.kernel != nil {
		if need := i.copies(); need.Whole && !i.kernel.how.Whole || i.kernel.how.GSO && !need.GSO {
			i.cfg.Rules[rule].Faults = now
			return fmt.Errorf("%w: the new settings of %s need more of each packet than this run's queue hands over: start the run anew", ErrConfig, namesOf(models))
		}
	}
	after := &settings{instances: instances, diverts: i.cfg.diversion(models), waits: waits(models)}
	if !ruleset.SameSets(before.diverts, after.diverts) { // flows are in sets that the new rules would not look into
		after.diverts = before.diverts.Union(after.diverts)
	}
	i.adjust(r, after)
	if after.diverts != before.diverts {
		if err := i.follow(rule); err != nil {
			i.cfg.Rules[rule].Faults = now
			i.adjust(r, before)
			return err
		}
	}
	if i.team != nil {
		i.team.settle()
	}
	return nil
}

// adjust has the workers judge by other settings of a rule.
func (i *Injector) adjust(r *ruleState, s *settings) {
	r.settings.Store(s)
	i.reckon()
	i.adjusted.Add(1)
}

// restarted is the faults of a rule in force with other settings. Those whose settings are
// the same stay in force as they are: connections may share something that is in them.
func restarted(now, models []NamedModel, instances []faults.Instance) ([]faults.Instance, error) {
	if !slices.EqualFunc(now, models, func(a, b NamedModel) bool { return a.Name == b.Name }) {
		return nil, fmt.Errorf("%w: the rule has the faults %s, and the new settings are of %s", ErrConfig, namesOf(now), namesOf(models))
	}
	next := slices.Clone(instances)
	for n, m := range models {
		if err := m.Model.Validate(); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrConfig, m.Name, err)
		}
		if reflect.DeepEqual(m.Model, now[n].Model) {
			continue
		}
		next[n] = m.Model.Start()
		if _, adjusts := next[n].New().(faults.Adjuster); !adjusts {
			return nil, fmt.Errorf("%w: the settings of %s cannot change while it is at work", ErrConfig, m.Name)
		}
	}
	return next, nil
}

func namesOf(fs []NamedModel) string {
	names := make([]string, len(fs))
	for i, f := range fs {
		names[i] = f.Name
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// Pause has the run judge nothing until Resume: when it returns, no packet is diverted
// any more and none is held. What is held leaves first, in its order, within
// 0.4 s. Connections keep their ordinals and whether they were chosen; what their faults
// knew of them is forgotten. Stats go on. Pausing a paused run does nothing. Any goroutine may call it,
// during the run and after.
func (i *Injector) Pause() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	k := i.kernel
	if i.paused || k == nil {
		i.paused = true
		return nil
	}
	i.team.drain()
	if err := k.put(k.rules.Disarmed()); err != nil {
		i.team.each(func(w *worker) { w.draining = draining{} })
		return err
	}
	i.paused = true
	i.team.quiet()
	i.team.each((*worker).suspend)
	var sets []ruleset.SetName
	for n := range i.rules {
		for _, kind := range []ruleset.SetKind{ruleset.Captured, ruleset.Released, ruleset.Live} {
			sets = append(sets, ruleset.SetOf(kind, n, ruleset.IPv4), ruleset.SetOf(kind, n, ruleset.IPv6))
		}
	}
	return k.nft.Empty(sets...)
}

// Resume has a paused run judge again, from the next matching packet on. Each open
// connection is asked about anew with its next packet: one that was chosen is struck
// again, with the same ordinal and as if it had been open before. Resuming a run that is
// not paused does nothing. Any goroutine may call it, during the run and after.
func (i *Injector) Resume() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.paused {
		return nil
	}
	i.paused = false
	if i.kernel == nil {
		return nil
	}
	i.team.each(func(w *worker) { w.draining = draining{} })
	i.changes.Add(1)
	defer i.changes.Add(1)
	if err := i.kernel.put(i.compiled()); err != nil {
		i.paused = true
		return err
	}
	return nil
}

// each has f done by each worker, one after the other, and waits for it, or until the
// workers are gone.
func (c *workers) each(f func(*worker)) {
	for _, w := range c.all {
		w.ask(c.gone, func() { f(w) })
	}
}

// quiet waits until no packet is left in the queues that no rule leads to any more, or
// it has taken too long.
func (c *workers) quiet() {
	time.Sleep(emptyWait) // a packet that met the rules just before they went may still be on its way
	late := time.After(drainWithin)
	for _, w := range c.all {
		var from uint64
		w.ask(c.gone, func() { from = w.batch })
		for quiet := false; !quiet; {
			w.ask(c.gone, func() { quiet = w.emptied > from && w.emptied > w.requeued && w.changing == 0 })
			if quiet {
				break
			}
			select {
			case <-c.gone:
				return
			case <-late:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}
}

// suspend has the worker forget what faults know of its flows, for what they do while
// the run is paused is not seen. Ordinals are kept, and which flows were chosen.
func (w *worker) suspend() {
	w.releaseAll()
	w.flush()
	w.idle = idleQueue{}
	now := w.clock()
	for _, f := range w.flows.flows {
		w.finish(f, now)
		f.suspend(len(w.rules))
	}
	w.parked.suspend()
}

func (f *entry) suspend(rules int) {
	if f.chain != nil && len(f.asked) == 0 { // it was parked, which keeps the ordinal of its only rule
		f.asked = chosenBy(f.rule, f.nth, f.others, rules)
	}
	f.chain, f.links, f.rng, f.pcg = nil, nil, nil, nil
	f.captured, f.released, f.queued = false, false, false
	f.timer, f.due, f.turns, f.gso = faults.Never, [2]time.Duration{}, [2]int{}, gsoState{}
}

// suspend has each parked flow wait to be asked about, and not for an alarm.
func (d *parkedFlows) suspend() {
	d.alarms, d.swept = heap.Heap[alarm, *alarm]{}, 0
	for i := d.seen.Oldest(); i != 0; i = d.seen.Newer(i) {
		r := d.at(i)
		r.state, r.wakeAt = 0, faults.Never
		if r.attributes.has(isChosen) {
			r.attributes |= isAsked | wasChosen
		}
		r.attributes &^= isChosen | isReleased | chainReleased
	}
}
