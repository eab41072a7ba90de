package injector

import "github.com/faultctl/faultctl/faults"

// way is which of a flow's two directions a packet may travel, as far as its
// rule's target says. A set has each flow once, client first; a packet whose way
// is known need be looked up in one order only.
type way string

const (
	either way = ""
	there  way = "there" // from client to server
	back   way = "back"
)

// mirrors are the orders in which a packet's ends are looked up.
func (w way) mirrors() []bool {
	switch w {
	case there:
		return []bool{false}
	case back:
		return []bool{true}
	}
	return []bool{false, true}
}

// chain is the name of a chain for packets of that way.
func (w way) chain(r *compiled, what string, v6 bool) string {
	if w != either {
		what += "_" + string(w)
	}
	return r.name(what, v6)
}

// mostWays is how many service ends a rule may name for its packets to be parted
// by their way: each packet is compared with all of them once more.
const mostWays = 4

// ends are the service ends of the family that the rule names.
func (r *compiled) ends(v6 bool) []Endpoint {
	to := r.cfg.Match.To
	if len(to) == 0 {
		to = []Endpoint{{}}
	}
	var es []Endpoint
	for _, e := range to {
		if e.of(v6) {
			es = append(es, e)
		}
	}
	return es
}

// ways are those by which the packets of the rule are parted.
func (r *compiled) ways(v6 bool) []way {
	es := r.ends(v6)
	if len(r.cfg.Match.To) == 0 || len(es) > mostWays || !r.cfg.Match.Owner.Any() {
		return []way{either}
	}
	return []way{either, there, back}
}

// dispatch sends the packets of one family that the rule is about to their
// chain. It reports whether the rule can match that family at all.
func (r *compiled) dispatch(c *chain, what string, v6 bool) bool {
	m := &r.cfg.Match
	parted := len(r.ways(v6)) > 1
	fam := isFamily{v6}
	before := len(c.rules)
	for _, e := range m.Except {
		if !e.of(v6) {
			continue
		}
		for _, dst := range []bool{true, false} {
			c.add(append(append(rule{fam}, e.match(dst)...), verdict("return"))...)
		}
	}
	matched := false
	for _, e := range r.ends(v6) {
		for _, dst := range []bool{true, false} {
			target := r.name(what, v6)
			switch {
			case !m.Owner.Any() && (what == "judge" || what == "later"):
				target = r.name("owned_"+what, v6)
			case parted && dst:
				target = there.chain(r, what, v6)
			case parted:
				target = back.chain(r, what, v6)
			}
			for _, s := range r.clients(v6, !dst) {
				c.add(append(append(append(rule{fam}, e.match(dst)...), s...), verdict("goto "+target))...)
				matched = true
			}
			if e == (Endpoint{}) && len(m.From) == 0 {
				break // both directions look the same
			}
		}
	}
	if !matched {
		c.rules = c.rules[:before]
	}
	return matched
}

// clients are the conditions on a client's address, one of which must hold. dst
// says that it is the destination.
func (r *compiled) clients(v6, dst bool) []rule {
	if len(r.cfg.Match.From) == 0 {
		return []rule{nil}
	}
	var rs []rule
	for _, p := range r.cfg.Match.From {
		if p.Addr().Is6() == v6 {
			rs = append(rs, rule{addrIs{dst, p}})
		}
	}
	return rs
}

// part sends on, from the chain of one way, the packets that the target lets
// travel the other way as well: both of their ends may be the service.
func (r *compiled) part(c *chain, what string, v6 bool, w way) {
	if w == either {
		return
	}
	for _, e := range r.ends(v6) {
		for _, s := range r.clients(v6, w == there) {
			c.add(append(append(e.match(w == back), s...), verdict("goto "+either.chain(r, what, v6)))...)
		}
	}
}

// judge decides whether user space must see the packet.
func (r *compiled) judge(v6 bool, w way) chain {
	c := chain{name: w.chain(r, "judge", v6)}
	r.part(&c, "judge", v6, w)
	d, queue, divert := r.diverts, verdict("goto "+r.name("queue", v6)), verdict("goto "+r.name("divert", v6))
	for _, mirror := range w.mirrors() {
		c.add(lookup{v6: v6, mirror: mirror, set: r.name("captured", v6)}, queue)
	}
	c.add(flagsAre{"syn|ack", "syn"}, queue)
	if d.All {
		c.add(divert)
		return c
	}
	if d.SYNACK {
		c.add(flagsAre{"syn|ack", "syn|ack"}, divert)
	}
	if d.FIN {
		c.add(flagsAre{"fin", "fin"}, divert)
	}
	if d.RST {
		c.add(flagsAre{"rst", "rst"}, divert)
	}
	if d.Above != 0 {
		c.add(longerThan(d.Above), divert)
	}
	if d.Small {
		for doff := 5; doff <= 15; doff++ {
			c.add(flagsAre{"syn|fin|rst", "0"}, payloadIs{v6: v6, doff: doff, min: 0, max: 1}, divert)
		}
	}
	if d.Idle != 0 {
		for _, mirror := range w.mirrors() {
			c.add(lookup{v6: v6, mirror: mirror, set: r.name("live", v6)}, verdict("return"))
		}
		c.add(divert)
	}
	return c
}

// divert queues the packet unless the faults have finished with its flow. A flow
// that none of the rules is about is released as well; its ends are in the order
// of its own SYN, which may not be the target's.
func (r *compiled) divert(v6 bool) chain {
	c := chain{name: r.name("divert", v6)}
	for _, mirror := range either.mirrors() {
		c.add(lookup{v6: v6, mirror: mirror, set: r.name("released", v6)}, verdict("return"))
	}
	c.add(verdict("goto " + r.name("queue", v6)))
	return c
}

// enqueue is where packets are queued and counted. No change of the rule's
// target touches it, so the count goes on.
func (r *compiled) enqueue(v6 bool) chain {
	c := chain{name: r.name("queue", v6)}
	c.add(count{}, r.to)
	return c
}

// later is what a packet meets behind the queue, or instead of it.
func (r *compiled) later(v6 bool, w way) []chain {
	refresh := r.refresh(v6, w)
	c := chain{name: w.chain(r, "later", v6)}
	if len(refresh.rules) == 0 {
		c.add(priorityLacks(sigAll), verdict("return"))
	} else {
		c.add(priorityLacks(sigAll), verdict("goto "+refresh.name))
	}
	c.add(priorityHas(sigReply), verdict("goto "+r.name("reply", v6)))
	c.add(verdict("goto " + r.name("original", v6)))
	if len(refresh.rules) == 0 {
		return []chain{c}
	}
	return []chain{refresh, c}
}

// refresh keeps a flow alive that the kernel lets pass. Only what is in the
// set already is updated: while user space holds a segment, a bare ACK of the
// peer must not admit the flow behind its back.
func (r *compiled) refresh(v6 bool, w way) chain {
	c := chain{name: w.chain(r, "refresh", v6)}
	if r.diverts.Idle == 0 {
		return c
	}
	r.part(&c, "refresh", v6, w)
	ref := r.diverts.Refresh
	for _, mirror := range w.mirrors() {
		from := faults.Client
		if mirror {
			from = faults.Server
		}
		if !ref.From.Includes(from) {
			continue
		}
		live := lookup{v6: v6, mirror: mirror, set: r.name("live", v6)}
		update := change{live, "update", r.diverts.Idle}
		if ref.MinPayload == 0 {
			c.add(live, update)
			continue
		}
		for doff := 5; doff <= 15; doff++ {
			c.add(payloadIs{v6: v6, doff: doff, min: ref.MinPayload, max: -1}, live, update)
		}
		c.add(flagsAre{"fin", "fin"}, live, update)
	}
	return c
}
