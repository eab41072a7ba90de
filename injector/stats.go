package injector

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
	"github.com/faultctl/faultctl/injector/target"
)

// counters of one fault of one rule. Workers add, anyone reads.
type counters struct {
	name                                    string
	rule                                    int
	fired, acted, diverted, dropped, forged atomic.Uint64
}

// ruleState is what all workers share of one rule.
type ruleState struct {
	*Rule
	index         int
	idle          time.Duration                  // Diversion.Idle of its faults together
	match         atomic.Pointer[target.Matcher] // as it is now, see Retarget
	share         atomic.Uint64                  // of Pick, as the bits of a float64, see SetShare
	next          atomic.Uint64                  // the ordinal of the next connection
	flows, chosen atomic.Uint64
	faults        []*counters
	instances     []faults.Instance // of its faults, made when the rule starts
}

func newRuleStates(rules []Rule) []*ruleState {
	rs := make([]*ruleState, len(rules))
	for i := range rules {
		rs[i] = &ruleState{Rule: &rules[i], index: i, idle: diversion(rules[i].Faults).Idle}
		match := rules[i].Match
		rs[i].match.Store(&match)
		rs[i].share.Store(math.Float64bits(rules[i].Pick.Share.Chance()))
		for _, f := range rules[i].Faults {
			rs[i].faults = append(rs[i].faults, &counters{name: f.Name, rule: i})
			rs[i].instances = append(rs[i].instances, f.Model.Start())
		}
	}
	return rs
}

// totals counts what belongs to no rule.
type totals struct {
	diverted, foreign, cut, overruns, lost, unseen, unsent, forgotten atomic.Uint64
	setFull, captureFull, releaseFull, ownerFull                      atomic.Uint64
	latency                                                           latency

	// segments is how many of those diverted the rules did not count: they count
	// a packet once that is cut up in user space, or handed back to be cut up.
	segments atomic.Int64
}

// noRoom counts flows, by packets, that found no room in a set of that kind.
func (t *totals) noRoom(set ruleset.SetKind, n uint64) {
	switch set {
	case ruleset.Live:
		t.setFull.Add(n)
	case ruleset.Captured:
		t.captureFull.Add(n)
	case ruleset.Released:
		t.releaseFull.Add(n)
	case ruleset.Owned:
		t.ownerFull.Add(n)
	}
}

func snapshot(rules []*ruleState, t *totals) Snapshot {
	s := Snapshot{
		Diverted: t.diverted.Load(), Foreign: t.foreign.Load(), Cut: t.cut.Load(), Overruns: t.overruns.Load(), Lost: t.lost.Load(), Unseen: t.unseen.Load(), Unsent: t.unsent.Load(),
		SetFull: t.setFull.Load(), CaptureFull: t.captureFull.Load(), ReleaseFull: t.releaseFull.Load(), OwnerFull: t.ownerFull.Load(),
		Forgotten: t.forgotten.Load(), Latency: t.latency.snapshot(),
	}
	for _, r := range rules {
		rs := RuleStats{Flows: r.flows.Load(), Chosen: r.chosen.Load()}
		for _, c := range r.faults {
			rs.Faults = append(rs.Faults, FaultStats{
				Name: c.name, Fired: c.fired.Load(), Acted: c.acted.Load(),
				Diverted: c.diverted.Load(), Dropped: c.dropped.Load(), Forged: c.forged.Load(),
			})
		}
		s.Rules = append(s.Rules, rs)
	}
	return s
}
