package injector

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/faultctl/faultctl/injector/internal/ruleset"
	"github.com/faultctl/faultctl/injector/target"
)

// mostEnds limits how many service ends or client addresses of earlier targets of a
// rule the kernel goes on to match. Those of the current target are not limited.
const mostEnds = 1024

// Retarget gives the rule with that ordinal another target. Connections that were
// chosen stay chosen to their end. All others, open or new, are matched by m from now
// on; those that the old target matched as well keep their ordinals, so nothing is
// drawn twice. The Owner of the rule does not change: that of m is ignored. Retarget
// returns once the kernel matches by m, or with an error, and then the rule in the
// kernel is unchanged. Any goroutine may call it, during the run and afterwards.
func (i *Injector) Retarget(rule int, m target.Matcher) error {
	return i.change(rule, func(r *ruleState) {
		m.Owner = r.match.Load().Owner
		r.match.Store(&m)
		i.cfg.Rules[rule].Match = wider(m, i.cfg.Rules[rule].Match)
	})
}

// SetShare changes Pick.Share of the rule with that ordinal: 0 chooses no connection, 1
// all that the rest of Pick allows. A connection draws its lot only once, so a larger
// share includes what a smaller one chose; open connections too, from their next packet
// on. A connection that was chosen stays chosen when the share falls. Any goroutine may
// call it, during the run and afterwards.
func (i *Injector) SetShare(rule int, share float64) error {
	if !(share >= 0 && share <= 1) {
		return fmt.Errorf("%w: a share of %v lies outside 0 to 1", ErrConfig, share)
	}
	return i.change(rule, func(r *ruleState) { r.share.Store(math.Float64bits(share)) })
}

// drawAgain draws the lots of each rule again whose share recurs, until the function is
// called that it returns.
func (i *Injector) drawAgain() (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var drawing sync.WaitGroup
	for n, r := range i.rules {
		if d := r.Pick.Share.Again(); d > 0 {
			drawing.Go(func() { i.drawEvery(ctx, n, d) })
		}
	}
	return func() { cancel(); drawing.Wait() }
}

func (i *Injector) drawEvery(ctx context.Context, rule int, d time.Duration) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := i.change(rule, func(r *ruleState) { r.draws.Add(1) }); err != nil {
			i.cfg.Logger.Warn("lots not drawn again", "error", err)
		}
	}
}

// change makes a change of what a rule matches take effect: first in user space, then
// in the kernel, so that no packet is handed over that user space does not know about.
// Last, the connections that the rule had released are no longer let pass, and the
// rules are asked about each of them again at its next packet.
func (i *Injector) change(rule int, do func(*ruleState)) error {
	if rule < 0 || rule >= len(i.rules) {
		return fmt.Errorf("%w: there is no rule %d", ErrConfig, rule)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	do(i.rules[rule])
	return i.follow(rule)
}

// follow makes the kernel's rules follow a change of the rule with that ordinal. i.mu
// is held.
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
	i.team.settle() // a verdict that is on its way could still release a connection for good
	return k.nft.Empty(ruleset.SetOf(ruleset.Released, rule, ruleset.IPv4), ruleset.SetOf(ruleset.Released, rule, ruleset.IPv6))
}

// compiled returns the rules as they must be now. i.mu is held, and i.kernel is not
// nil.
func (i *Injector) compiled() *ruleset.Ruleset {
	rs := i.cfg.compile(&i.kernel.at, i.rules)
	if i.paused {
		return rs.Disarmed()
	}
	return rs
}

// changeable sets what a change of the rules must change from now on; nil means
// nothing.
func (i *Injector) changeable(k *kernelSide, team *workers) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.kernel, i.team = k, team
}

// wider returns a target that includes now and before: what the kernel matches while
// connections of an earlier target are open.
func wider(now, before target.Matcher) target.Matcher {
	m := target.Matcher{To: union(now.To, before.To), From: union(now.From, before.From), Owner: now.Owner}
	for _, e := range now.Except {
		if slices.Contains(before.Except, e) {
			m.Except = append(m.Except, e)
		}
	}
	return m
}

// union returns those of now and the latest of before. If either is empty, which means
// any, so is the union.
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
