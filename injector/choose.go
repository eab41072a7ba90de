package injector

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/outcomes"
)

// direct finds out which way the first segment of a flow travels. A SYN tells.
// Otherwise the side that a rule names as the service's end is the server. If rules
// name both or neither, the lower port is the server's, because services listen below
// the ports that clients are given.
func direct(rules []*ruleState, s packet.Segment) faults.Direction {
	src, dst := s.SrcAddrPort(), s.DstAddrPort()
	if s.Flags().Has(packet.SYN) {
		if s.Flags().Has(packet.ACK) {
			return faults.Reply
		}
		return faults.Original
	}
	toServer, toClient := false, false
	for _, r := range rules {
		m := r.match.Load()
		toServer = toServer || m.Matches(src, dst)
		toClient = toClient || m.Matches(dst, src)
	}
	switch {
	case toServer && !toClient:
		return faults.Original
	case toClient && !toServer:
		return faults.Reply
	case src.Port() < dst.Port():
		return faults.Reply
	}
	return faults.Original
}

// choose decides whether the rule strikes its next connection e, and returns the
// ordinal of the connection. dials says that e begins with the SYN of a local program:
// it may then belong to a try over the other address family, and share its ordinal, see
// [tries].
func (r *ruleState) choose(seed uint64, e *entry, dials bool, now time.Duration) (nth uint64, chosen bool) {
	r.flows.Add(1)
	if r.Pick.NewOnly && e.openBefore {
		return noOrdinal, false
	}
	port, v6 := e.Server.Port(), !e.Server.Addr().Unmap().Is4()
	if dials {
		if nth, joined := r.tries.join(now, port, v6, r.next.Load()); joined {
			return nth, r.strikes(seed, nth)
		}
	}
	nth = r.next.Add(1) - 1
	if dials {
		r.tries.begin(now, port, v6, nth)
	}
	return nth, r.strikes(seed, nth)
}

// connected notes that a flow that began with the SYN of a local program is now open
// for its client.
func (w *worker) connected(e *entry) {
	e.dials = false
	for _, r := range w.rules {
		if o, counted := e.ordinalOf(r.index); counted {
			r.tries.end(o.nth)
		}
	}
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
		share < 1 && chance(seed, r.index, nth^r.draws.Load()<<40, 0).Float64() >= share:
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

// match asks the rules whether they strike the connection. before is what was known of
// it when they were last asked, or nil. A rule that chose the connection then still
// strikes it, even if its target has changed since. dials says that the connection
// begins with a SYN of a local program.
func (w *worker) match(e, before *entry, dials bool, now time.Duration) {
	var instances []faults.Instance
	e.adjustedAt, e.dials = w.adjusted.Load(), dials
	if before != nil {
		e.asked, e.fired = before.asked, before.fired
		e.captured, e.prompted, e.spared = before.captured, before.prompted, before.spared
	}
	if e.spared {
		return
	}
	for _, r := range w.rules {
		o, counted := before.ordinalOf(r.index)
		if !o.chosen && (!r.matches(e) || !w.ownersFlow(r, e)) {
			continue
		}
		again := o.chosen
		switch {
		case again:
		case counted:
			o.chosen = r.strikes(w.seed, o.nth)
		default:
			o.rule = r.index
			o.nth, o.chosen = r.choose(w.seed, e, dials, now)
		}
		e.note(o)
		if !o.chosen {
			continue
		}
		if e.rng == nil {
			e.rule, e.nth, e.pcg = r.index, o.nth, pcg(w.seed, r.index, o.nth, 1)
			e.rng = rand.New(e.pcg)
		}
		instances = append(instances, r.settings.Load().instances...)
		e.links = append(e.links, r.faults...)
		if !again {
			e.fired = 0 // its bits now stand for other faults
			w.tell(record{kind: Chosen, client: e.Client, server: e.Server, rule: r.index, nth: o.nth, midstream: e.openBefore})
		}
	}
	e.others = len(e.asked) > 1
	if instances != nil {
		e.chain = faults.NewChain(instances)
		if e.prompted {
			e.promptAll()
		}
	}
	if e.chain != nil || w.judges && len(e.asked) > 0 {
		e.outcome = outcomes.NewConn(e, w.judges && !e.openBefore, e.signed)
	}
}

// ownersFlow reports whether the flow is one of the rule's owner. If there is only one
// rule, the kernel has made sure of that. Otherwise the kernel is asked, once per flow,
// for which of them it handed over the packet.
func (w *worker) ownersFlow(r *ruleState, e *entry) bool {
	return r.match.Load().Owner.Any() || len(w.rules) == 1 || w.sets.owned(r.index, flowKey{e.Client, e.Server})
}

// startsAnew reports whether the segment is the SYN of another connection on
// the same addresses and ports, not a retransmission of the one that is known.
func startsAnew(e *entry, dir faults.Direction, seg packet.Segment) bool {
	if !seg.Flags().Has(packet.SYN) || seg.Flags().Has(packet.ACK) {
		return false
	}
	h := &e.Half[dir]
	return dir == faults.Reply || !h.SYN || h.ISN != seg.Seq()
}
