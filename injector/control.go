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

// SetModels gives the faults of the rule with that ordinal new settings: models must be
// the same faults in the same order. Each segment is judged by either the old or the
// new settings of all faults of the rule, also on connections that are already open;
// after SetModels has returned, all are judged by the new ones. No packet is lost, held
// packets leave when they were due, and faults keep what they know of a connection.
// From then on the kernel hands over what the new settings need.
//
// If models are not the faults of the rule, if a setting is wrong, if a fault cannot
// change its settings while it is active (see faults.Adjuster), or if the new settings
// need packets to be handed over in another way than the queues of the run do, the
// error is an ErrConfig, and nothing has changed. Any goroutine may call it, during the
// run and afterwards.
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
	if !ruleset.SameSets(before.diverts, after.diverts) { // flows are in sets that the new rules do not use
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

// adjust makes the workers judge by other settings of a rule.
func (i *Injector) adjust(r *ruleState, s *settings) {
	r.settings.Store(s)
	i.reckon()
	i.adjusted.Add(1)
}

// restarted returns the faults of a rule with other settings, ready for use. Faults
// whose settings do not change are kept as they are, because connections may share
// state in them.
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

// Pause stops judging until Resume. When it returns, no packet is diverted any more and
// none is held: held packets leave first, in order, within 0.4 s. Connections keep
// their ordinals, and whether they were chosen; what their faults knew of them is
// forgotten. Stats go on. Pausing a paused run does nothing. Any goroutine may call it,
// during the run and afterwards.
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

// Resume makes a paused run judge again, from the next matching packet on. The rules
// are asked about each open connection again at its next packet: one that was chosen is
// struck again, with the same ordinal, as a connection that was open before. Resuming a
// run that is not paused does nothing. Any goroutine may call it, during the run and
// afterwards.
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

// quiet waits until the queues are empty that no rule fills any more, but not for too
// long.
func (c *workers) quiet() {
	time.Sleep(emptyWait) // a packet that matched the rules just before they were removed may still be on its way
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

// suspend makes the worker forget what faults know of its flows, because it does not
// see what the flows do while the run is paused. Ordinals are kept, and which flows
// were chosen.
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
	if f.chain != nil && len(f.asked) == 0 { // it was parked, and a parked flow keeps only the ordinal within its own rule
		f.asked = chosenBy(f.rule, f.nth, f.others, rules)
	}
	f.chain, f.links, f.rng, f.pcg = nil, nil, nil, nil
	f.captured, f.released, f.queued = false, false, false
	f.timer, f.due, f.turns, f.gso = faults.Never, [2]time.Duration{}, [2]int{}, gsoState{}
}

// suspend makes each parked flow be asked about again, and cancels its alarm.
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
