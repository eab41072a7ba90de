package injector

import (
	"slices"

	"github.com/faultctl/faultctl/faults"
)

// way is which of a flow's two directions a packet may travel, as far as its
// rule's target says. A set has each flow once, client first; a packet whose way
// is known is looked up in one order, and in the other only if it is not there.
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

func (w way) other() way { return map[way]way{there: back, back: there}[w] }

// chain is the name of a chain for packets of that way.
func (w way) chain(r *compiled, what string, v6 bool) string {
	if w != either {
		what += "_" + string(w)
	}
	return r.name(what, v6)
}

// parted reports whether the target tells which way a packet travels.
func (r *compiled) parted() bool { return len(r.cfg.Match.To) > 0 && r.cfg.Match.Owner.Any() }

// flags are those that a packet has which the rule diverts for its flags.
func (r *compiled) flags() string {
	mask := "syn"
	if r.diverts.FIN {
		mask += "|fin"
	}
	if r.diverts.RST {
		mask += "|rst"
	}
	return mask
}

// flagsOnly reports whether nothing but its flags says whether a packet is
// diverted. No set need be asked for others then.
func (r *compiled) flagsOnly() bool {
	d := r.diverts
	return d.NoCapture && d.Idle == 0 && d.Above == 0 && !d.All && !d.Small && r.cfg.Match.Owner.Any()
}

// judge is the chains that decide whether user space must see a packet.
func (r *compiled) judge(v6 bool) []chain {
	cs := []chain{r.enqueue(v6)}
	if r.releases() {
		cs = append(cs, r.divert(v6))
	}
	if r.flagsOnly() || r.flagged() {
		cs = append(cs, r.byFlags(v6))
	}
	switch {
	case r.flagsOnly():
	case r.parted():
		for _, w := range []way{there, back} {
			cs = append(cs, r.refresh(v6, w), r.astray(v6, w), r.judgeWay(v6, w))
		}
	default:
		cs = append(cs, r.refresh(v6, there), r.refresh(v6, back), r.judgeWay(v6, either))
	}
	var used []chain
	for _, c := range cs {
		if len(c.rules) > 0 {
			used = append(used, c)
		}
	}
	return used
}

// judgeWay is what most packets meet: of those that pass, as little as tells that
// they do.
func (r *compiled) judgeWay(v6 bool, w way) chain {
	c := chain{name: w.chain(r, "judge", v6)}
	d, queue, divert := r.diverts, verdict("goto "+r.name("queue", v6)), verdict("goto "+r.name("divert", v6))
	c.add(prioritySet{}, verdict("jump marked"))
	if r.flagged() {
		c.add(flagsHave{r.flags()}, verdict("jump "+r.name("flagged", v6)))
	} else {
		c.add(flagsAre{"syn|ack", "syn"}, queue)
	}
	if d.Above != 0 && !d.All {
		c.add(longerThan(d.Above), divert)
	}
	if d.Small && !d.All {
		for doff := 5; doff <= 15; doff++ {
			c.add(flagsAre{"syn|fin|rst", "0"}, payloadIs{v6: v6, doff: doff, min: 0, max: 1}, divert)
		}
	}
	if r.captures() {
		for _, mirror := range w.mirrors() {
			c.add(lookup{v6: v6, mirror: mirror, set: r.name("captured", v6)}, queue)
		}
	}
	passes := r.passes()
	switch {
	case passes != "" && w != either:
		for _, mirror := range w.mirrors() {
			c.add(lookup{v6: v6, mirror: mirror, not: true, set: r.name(passes, v6)}, verdict("goto "+w.chain(r, "astray", v6)))
		}
		c.rules = append(c.rules, r.refresh(v6, w).rules...)
	case passes == "live":
		c.rules = append(c.rules, r.isLive(v6, there)...)
		c.rules = append(c.rules, r.isLive(v6, back)...)
		c.add(divert)
	case passes == "released":
		c.add(divert)
	case w != either && r.captures():
		r.part(&c, v6, w, w.chain(r, "astray", v6))
	}
	return c
}

// passes is the set of the flows that the kernel lets pass, while others' packets
// are diverted; empty if it is the packet that decides.
func (r *compiled) passes() string {
	switch {
	case r.diverts.All:
		return "released"
	case r.diverts.Idle != 0:
		return "live"
	}
	return ""
}

// astray looks packets up in the order that is not the target's: both of their
// ends may be the service, or a client may have the service's port for its own.
func (r *compiled) astray(v6 bool, w way) chain {
	c := chain{name: w.chain(r, "astray", v6)}
	queue := verdict("goto " + r.name("queue", v6))
	for _, mirror := range w.other().mirrors() {
		if r.captures() {
			c.add(lookup{v6: v6, mirror: mirror, set: r.name("captured", v6)}, queue)
		}
		if r.diverts.All {
			c.add(lookup{v6: v6, mirror: mirror, set: r.name("released", v6)}, verdict("return"))
			c.add(queue)
		} else if r.diverts.Idle != 0 {
			c.rules = append(c.rules, r.isLive(v6, w.other())...)
			c.add(verdict("goto " + r.name("divert", v6)))
		}
	}
	return c
}

// isLive lets a flow pass that is in the set of those that are not idle.
func (r *compiled) isLive(v6 bool, w way) []rule {
	leave := verdict("return")
	if refresh := r.refresh(v6, w); len(refresh.rules) > 0 {
		leave = verdict("goto " + refresh.name)
	}
	var rs []rule
	for _, mirror := range w.mirrors() {
		rs = append(rs, rule{lookup{v6: v6, mirror: mirror, set: r.name("live", v6)}, leave})
	}
	return rs
}

// mostParts is how many service ends a packet is compared with once more before it
// is rather looked up in both orders.
const mostParts = 4

// part sends on, from the chain of one way, the packets that the target lets
// travel the other way as well: both of their ends may be the service.
func (r *compiled) part(c *chain, v6 bool, w way, to string) {
	together, es := r.ends(v6)
	if len(together) > 0 || len(es) > mostParts {
		c.add(verdict("goto " + to))
		return
	}
	for _, e := range es {
		for _, s := range r.clients(v6, w == there) {
			c.add(append(append(matchEnd(e, v6, w == back), s...), verdict("goto "+to))...)
		}
	}
}

// flagged reports whether other flags than the SYN's are diverted, and not all.
func (r *compiled) flagged() bool {
	d := r.diverts
	return !d.All && (d.SYNACK || d.FIN || d.RST)
}

// byFlags diverts packets for their flags. A SYN is queued whatever its flow is.
func (r *compiled) byFlags(v6 bool) chain {
	c := chain{name: r.name("flagged", v6)}
	divert := verdict("goto " + r.name("divert", v6))
	if r.flagsOnly() { // nothing has asked before
		c.add(prioritySet{}, verdict("jump marked"))
	}
	c.add(flagsAre{"syn|ack", "syn"}, verdict("goto "+r.name("queue", v6)))
	if r.diverts.SYNACK {
		c.add(flagsAre{"syn|ack", "syn|ack"}, divert)
	}
	if r.diverts.FIN {
		c.add(flagsAre{"fin", "fin"}, divert)
	}
	if r.diverts.RST {
		c.add(flagsAre{"rst", "rst"}, divert)
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
	return chain{name: r.name("queue", v6), rules: slices.Clone(r.to)}
}

// refresh keeps a flow alive that the kernel lets pass, and that is in the set
// already: while user space holds a segment, a bare ACK of the peer must not
// admit the flow behind its back.
func (r *compiled) refresh(v6 bool, w way) chain {
	c := chain{name: w.chain(r, "refresh", v6)}
	if r.passes() != "live" {
		return c
	}
	ref := r.diverts.Refresh
	for _, mirror := range w.mirrors() {
		from := faults.Client
		if mirror {
			from = faults.Server
		}
		if !ref.From.Includes(from) {
			continue
		}
		update := change{lookup{v6: v6, mirror: mirror, set: r.name("live", v6)}, "update", r.diverts.Idle}
		if ref.MinPayload == 0 {
			c.add(update)
			continue
		}
		for doff := 5; doff <= 15; doff++ {
			c.add(payloadIs{v6: v6, doff: doff, min: ref.MinPayload, max: -1}, update)
		}
		c.add(flagsAre{"fin", "fin"}, update)
	}
	return c
}
