package injector

import (
	"sync/atomic"

	"github.com/faultctl/faultctl/injector/internal/outcomes"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
)

// counters of one fault of one rule. Workers add, any goroutine reads.
type counters struct {
	name                                    string
	rule                                    int
	observes                                bool // it only observes
	fired, acted, diverted, dropped, forged atomic.Uint64
	outcomes                                outcomes.Tally
}

// totals counts what does not belong to a rule.
type totals struct {
	diverted, foreign, cut, overruns, lost, unseen, unsent, forgotten, signed, shed, early atomic.Uint64
	setFull, captureFull, releaseFull, ownerFull                                           atomic.Uint64
	latency                                                                                latency

	// segments is how many of the diverted packets the rules did not count: they count a
	// packet once that is segmented in user space or handed back to be segmented.
	segments atomic.Int64
}

// noRoom counts packets of flows that found no room in a set of that kind.
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

func (sh *shared) snapshot() Snapshot {
	t := &sh.totals
	s := Snapshot{
		Diverted: t.diverted.Load(), Foreign: t.foreign.Load(), Cut: t.cut.Load(), Overruns: t.overruns.Load(), Lost: t.lost.Load(), Unseen: t.unseen.Load(), Unsent: t.unsent.Load(),
		SetFull: t.setFull.Load(), CaptureFull: t.captureFull.Load(), ReleaseFull: t.releaseFull.Load(), OwnerFull: t.ownerFull.Load(),
		Shed: t.shed.Load(), Forgotten: t.forgotten.Load(), Signed: t.signed.Load(), SettledEarly: t.early.Load(), Latency: t.latency.snapshot(),
	}
	for _, r := range sh.rules {
		rs := RuleStats{Flows: r.flows.Load(), Chosen: r.chosen.Load()}
		for _, c := range r.faults {
			rs.Faults = append(rs.Faults, FaultStats{
				Name: c.name, Fired: c.fired.Load(), Acted: c.acted.Load(),
				Diverted: c.diverted.Load(), Dropped: c.dropped.Load(), Forged: c.forged.Load(), Settled: c.outcomes.Sum(),
			})
		}
		s.Rules = append(s.Rules, rs)
	}
	return s
}
