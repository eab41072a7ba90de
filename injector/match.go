package injector

import (
	"math"
	"math/rand/v2"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
)

// direct finds out which way the first segment of a flow travels. A SYN says
// it; otherwise the side that a rule names as the service end is the server;
// and where both or none is named, the lower port: services listen below the
// ports that clients are given.
func direct(rules []*ruleState, s packet.Segment) faults.Direction {
	src, dst := s.SrcAddrPort(), s.DstAddrPort()
	if s.Flags().Has(packet.SYN) {
		if s.Flags().Has(packet.ACK) {
			return faults.Reply
		}
		return faults.Original
	}
	there, back := false, false
	for _, r := range rules {
		m := r.match.Load()
		there = there || m.Matches(src, dst)
		back = back || m.Matches(dst, src)
	}
	switch {
	case there && !back:
		return faults.Original
	case back && !there:
		return faults.Reply
	case src.Port() < dst.Port():
		return faults.Reply
	}
	return faults.Original
}

// noOrdinal stands for the ordinal of a connection that is not counted.
const noOrdinal = math.MaxUint64

// choose decides whether the rule strikes its next connection, and returns the
// connection's ordinal.
func (r *ruleState) choose(seed uint64, midstream bool) (nth uint64, chosen bool) {
	r.flows.Add(1)
	if r.Pick.NewOnly && midstream {
		return noOrdinal, false
	}
	nth = r.next.Add(1) - 1
	return nth, r.strikes(seed, nth)
}

// strikes decides whether the rule strikes the connection of that ordinal, and
// counts it if so.
func (r *ruleState) strikes(seed, nth uint64) bool {
	p, share := &r.Pick, math.Float64frombits(r.share.Load())
	switch {
	case p.Only != nil:
		if nth == noOrdinal || !p.Only.Contains(nth) {
			return false
		}
		r.chosen.Add(1)
		return true
	case nth == noOrdinal,
		nth < p.Skip,
		p.First > 0 && nth-p.Skip >= p.First,
		p.Every > 1 && (nth-p.Skip)%p.Every != 0,
		share < 1 && chance(seed, r.index, nth, 0).Float64() >= share:
		return false
	}
	// Max counts the chosen; several workers may race for the last place.
	for {
		n := r.chosen.Load()
		if p.Max > 0 && n >= p.Max {
			return false
		}
		if r.chosen.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// chance is the random source of one connection of a rule, for one purpose:
// 0 to choose it, 1 for its faults.
func chance(seed uint64, rule int, nth, purpose uint64) *rand.Rand {
	return rand.New(pcg(seed, rule, nth, purpose))
}

func pcg(seed uint64, rule int, nth, purpose uint64) *rand.PCG {
	return rand.NewPCG(seed^uint64(rule)<<56^purpose<<48, nth)
}
