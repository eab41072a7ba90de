package injector

import (
	"fmt"
	"math"
	"slices"

	"github.com/faultctl/faultctl/injector/internal/ruleset"
	"github.com/faultctl/faultctl/injector/target"
)

// mostEnds is how many service ends or client addresses the kernel goes on
// matching of targets that a rule had before. Those of the target that it has
// now are not limited.
const mostEnds = 1024

// Retarget gives the rule of that ordinal another target. Connections that
// were chosen stay so, wherever they lead: they are judged to their end.
// Others, open or new, are matched by m from now on; those that m has in common
// with the target before keep their ordinals, so nothing is drawn twice. The
// rule's Owner stays: m's is not looked at. It returns once the kernel matches by m, or with an error and the rule as it was
// in the kernel. Any goroutine may call it, during the run and after.
func (i *Injector) Retarget(rule int, m target.Matcher) error {
	return i.change(rule, func(r *ruleState) {
		m.Owner = r.match.Load().Owner
		r.match.Store(&m)
		i.cfg.Rules[rule].Match = wider(m, i.cfg.Rules[rule].Match)
	})
}

// SetShare changes Pick.Share of the rule of that ordinal: 0 chooses none, 1
// all that the rest of Pick allows. A connection draws its lot once, so a
// larger share takes in what a smaller one had, and more: open connections too,
// with their next packet. A connection that was chosen stays so when the share
// falls. Any goroutine may call it, during the run and after.
func (i *Injector) SetShare(rule int, share float64) error {
	if !(share >= 0 && share <= 1) {
		return fmt.Errorf("%w: a share of %v lies outside 0 to 1", ErrConfig, share)
	}
	return i.change(rule, func(r *ruleState) { r.share.Store(math.Float64bits(share)) })
}

// change makes a change of what a rule matches take effect. User space knows it first,
// then the kernel: no packet is handed over that nobody asked for. Last, the
// connections that the rule had released are no longer let pass, and each is asked
// about once more, with its next packet.
func (i *Injector) change(rule int, do func(*ruleState)) error {
	if rule < 0 || rule >= len(i.rules) {
		return fmt.Errorf("%w: there is no rule %d", ErrConfig, rule)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	do(i.rules[rule])
	return i.follow(rule)
}

// follow has the kernel's rules follow a change of the rule of that ordinal. i.mu is
// held.
func (i *Injector) follow(rule int) error {
	i.changes.Add(1)
	defer i.changes.Add(1)
	k := i.kernel
	if k == nil {
		return nil
	}
	if err := k.put(i.compiled()); err != nil {
		return err
	}
	i.team.settle() // a verdict on its way might still release a connection for good
	return k.nft.Empty(ruleset.SetOf(ruleset.Released, rule, ruleset.IPv4), ruleset.SetOf(ruleset.Released, rule, ruleset.IPv6))
}

// compiled is the rules as they are to be now. i.mu is held, and i.kernel is not nil.
func (i *Injector) compiled() *ruleset.Ruleset {
	rs := i.cfg.compile(&i.kernel.at, i.rules)
	if i.paused {
		return rs.Disarmed()
	}
	return rs
}

// changeable says what a change of the rules has to change from now on: nil,
// nothing.
func (i *Injector) changeable(k *kernelSide, team *workers) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.kernel, i.team = k, team
}

// wider is a target that takes in now and before: what the kernel matches while
// connections of an earlier target live.
func wider(now, before target.Matcher) target.Matcher {
	m := target.Matcher{To: union(now.To, before.To), From: union(now.From, before.From), Owner: now.Owner}
	for _, e := range now.Except {
		if slices.Contains(before.Except, e) {
			m.Except = append(m.Except, e)
		}
	}
	return m
}

// union has those of now and the latest of before. None of either means any.
func union[E comparable](now, before []E) []E {
	if len(now) == 0 || len(before) == 0 {
		return nil
	}
	all := slices.Clone(now)
	for _, e := range before {
		if len(all) >= max(mostEnds, len(now)) {
			break
		}
		if !slices.Contains(all, e) {
			all = append(all, e)
		}
	}
	return all
}
