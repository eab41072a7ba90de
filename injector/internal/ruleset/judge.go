package ruleset

import (
	"slices"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
)

// way is the direction in which a packet may travel, as far as the target of its rule
// tells. A set contains each flow once, the client first. A packet whose way is known
// is looked up in one order, and in the other only if it is not found. Names of chains
// contain the way.
type way string

const (
	eitherWay way = ""
	toServer  way = "there"
	toClient  way = "back"
)

// directions returns the directions in which packets of that way may travel.
func (w way) directions() []faults.Direction {
	switch w {
	case toServer:
		return []faults.Direction{faults.Original}
	case toClient:
		return []faults.Direction{faults.Reply}
	}
	return []faults.Direction{faults.Original, faults.Reply}
}

// other is the opposite way.
func (w way) other() way {
	switch w {
	case toServer:
		return toClient
	case toClient:
		return toServer
	}
	return eitherWay
}

// client and server return the ends at which a packet of that way has them.
func (w way) client() end {
	if w == toServer {
		return source
	}
	return destination
}

func (w way) server() end { return w.client().other() }

// chain returns the name of a chain for packets of that way.
func (w way) chain(r *compiled, what string, f Family) ChainName {
	if w != eitherWay {
		what += "_" + string(w)
	}
	return r.chain(what, f)
}

// telling reports whether the target tells which way a packet travels.
func (r *compiled) telling() bool { return len(r.Match.To) > 0 && r.Match.Owner.Any() }

// flags returns the flags for which the rule diverts a packet.
func (r *compiled) flags() packet.Flags {
	mask := packet.SYN
	if r.Diverts.FIN {
		mask |= packet.FIN
	}
	if r.Diverts.RST {
		mask |= packet.RST
	}
	return mask
}

// The flags that say what a packet does to a connection.
const (
	handshake = packet.SYN | packet.ACK
	control   = packet.SYN | packet.FIN | packet.RST
)

// flagsOnly reports whether only the flags of a packet decide if it is diverted. Then
// no set need be asked for other packets.
func (r *compiled) flagsOnly() bool {
	d := r.Diverts
	return d.NoCapture && d.Idle == 0 && d.Above == 0 && !d.All && !d.Small && r.Match.Owner.Any()
}

// judge adds the chains that decide whether user space must see a packet.
func (r *compiled) judge(f Family) []Chain {
	cs := []Chain{r.enqueue(f)}
	if r.releases() {
		cs = append(cs, r.divert(f))
	}
	if r.flagsOnly() || r.flagged() {
		cs = append(cs, r.byFlags(f))
	}
	switch {
	case r.flagsOnly():
	case r.telling():
		for _, w := range []way{toServer, toClient} {
			cs = append(cs, r.refresh(f, w), r.otherOrder(f, w), r.judgeWay(f, w))
		}
	default:
		cs = append(cs, r.refresh(f, toServer), r.refresh(f, toClient), r.judgeWay(f, eitherWay))
	}
	var used []Chain
	for _, c := range cs {
		if len(c.Rules) > 0 {
			used = append(used, c)
		}
	}
	return used
}

// judgeWay adds the rules that most packets pass: as few as possible for those that are
// not diverted.
func (r *compiled) judgeWay(f Family, w way) Chain {
	c := Chain{Name: w.chain(r, judgeOf, f)}
	d, queue, divert := r.Diverts, goTo(r.chain("queue", f)), goTo(r.chain("divert", f))
	other := w.chain(r, "astray", f)
	c.add(prioritySet{}, jump(marked))
	if r.flagged() {
		c.add(flagsHave(r.flags()), jump(r.chain("flagged", f)))
	} else {
		c.add(flagsAre{handshake, packet.SYN}, queue)
	}
	if d.Above != 0 && !d.All {
		c.add(longerThan(d.Above), divert)
	}
	if d.Small && !d.All {
		for doff := 5; doff <= 15; doff++ {
			c.add(flagsAre{control, 0}, payloadIs{family: f, doff: doff, min: 0, max: 1}, divert)
		}
	}
	if r.captures() {
		for _, dir := range w.directions() {
			c.add(flowIn{f, dir, r.set(Captured, f)}, queue)
		}
	}
	passes := r.passes()
	switch {
	case passes != NoSet && w != eitherWay:
		for _, dir := range w.directions() {
			c.add(notIn{flowIn{f, dir, r.set(passes, f)}}, goTo(other))
		}
		c.Rules = append(c.Rules, r.refresh(f, w).Rules...)
	case passes == Live:
		c.Rules = append(c.Rules, r.isLive(f, toServer)...)
		c.Rules = append(c.Rules, r.isLive(f, toClient)...)
		c.add(divert)
	case passes == Released:
		c.add(divert)
	case w != eitherWay && r.captures():
		r.bothServices(&c, f, w, other)
	}
	return c
}

// passes returns the set of the flows that the kernel lets pass while it diverts
// packets of others, or NoSet if the packet alone decides.
func (r *compiled) passes() SetKind {
	switch {
	case r.Diverts.All:
		return Released
	case r.Diverts.Idle != 0:
		return Live
	}
	return NoSet
}

// otherOrder looks packets up in the order that is not that of the target: both of
// their ends may be the service, or a client may use the port of the service as its
// own.
func (r *compiled) otherOrder(f Family, w way) Chain {
	c := Chain{Name: w.chain(r, "astray", f)}
	queue := goTo(r.chain("queue", f))
	for _, dir := range w.other().directions() {
		if r.captures() {
			c.add(flowIn{f, dir, r.set(Captured, f)}, queue)
		}
		if r.Diverts.All {
			c.add(flowIn{f, dir, r.set(Released, f)}, ret)
			c.add(queue)
		} else if r.Diverts.Idle != 0 {
			c.Rules = append(c.Rules, r.isLive(f, w.other())...)
			c.add(goTo(r.chain("divert", f)))
		}
	}
	return c
}

// isLive lets flows pass that are in the set of flows that are not idle.
func (r *compiled) isLive(f Family, w way) []Statements {
	leave := ret
	if refresh := r.refresh(f, w); len(refresh.Rules) > 0 {
		leave = goTo(refresh.Name)
	}
	var rs []Statements
	for _, dir := range w.directions() {
		rs = append(rs, Statements{flowIn{f, dir, r.set(Live, f)}, leave})
	}
	return rs
}

// mostCompared is how many service ends a packet is compared with a second time. If
// there are more, it is looked up in both orders instead.
const mostCompared = 4

// bothServices passes on, from the chain of one way, the packets that may travel the
// other way as well by the target: both of their ends may be the service.
func (r *compiled) bothServices(c *Chain, f Family, w way, to ChainName) {
	together, es := r.ends(f)
	if len(together) > 0 || len(es) > mostCompared {
		c.add(goTo(to))
		return
	}
	for _, e := range es {
		for _, s := range r.clients(f, w.server()) {
			c.add(append(append(endpointIs(e, f, w.client()), s...), goTo(to))...)
		}
	}
}

// flagged reports whether packets with other flags than SYN are diverted, but not all
// packets.
func (r *compiled) flagged() bool {
	d := r.Diverts
	return !d.All && (d.SYNACK || d.FIN || d.RST)
}

// byFlags diverts packets for their flags. A SYN is always queued.
func (r *compiled) byFlags(f Family) Chain {
	c := Chain{Name: r.chain("flagged", f)}
	divert := goTo(r.chain("divert", f))
	if r.flagsOnly() { // nothing has been asked before
		c.add(prioritySet{}, jump(marked))
	}
	c.add(flagsAre{handshake, packet.SYN}, goTo(r.chain("queue", f)))
	if r.Diverts.SYNACK {
		c.add(flagsAre{handshake, handshake}, divert)
	}
	if r.Diverts.FIN {
		c.add(flagsAre{packet.FIN, packet.FIN}, divert)
	}
	if r.Diverts.RST {
		c.add(flagsAre{packet.RST, packet.RST}, divert)
	}
	return c
}

// divert queues the packet, unless the faults have finished with its flow. A flow that
// no rule is about is released as well; its ends are in the order of its own SYN, which
// may not be that of the target.
func (r *compiled) divert(f Family) Chain {
	c := Chain{Name: r.chain("divert", f)}
	for _, dir := range eitherWay.directions() {
		c.add(flowIn{f, dir, r.set(Released, f)}, ret)
	}
	c.add(goTo(r.chain("queue", f)))
	return c
}

// enqueue adds the chain where packets are queued and counted. A change of the target
// does not touch it, so the count goes on.
func (r *compiled) enqueue(f Family) Chain {
	return Chain{Name: r.chain("queue", f), Rules: slices.Clone(r.to)}
}

// refresh keeps a flow alive that the kernel lets pass, if it is in the set already:
// while user space holds a segment, a bare ACK of the peer must not add the flow.
func (r *compiled) refresh(f Family, w way) Chain {
	c := Chain{Name: w.chain(r, "refresh", f)}
	if r.passes() != Live {
		return c
	}
	ref := r.Diverts.Refresh
	for _, dir := range w.directions() {
		from := faults.Client
		if dir == faults.Reply {
			from = faults.Server
		}
		if !ref.From.Includes(from) {
			continue
		}
		update := change{flowIn{f, dir, r.set(Live, f)}, Update, r.Diverts.Idle}
		if ref.MinPayload == 0 {
			c.add(update)
			continue
		}
		for doff := 5; doff <= 15; doff++ {
			c.add(payloadIs{family: f, doff: doff, min: ref.MinPayload, max: -1}, update)
		}
		c.add(flagsAre{packet.FIN, packet.FIN}, update)
	}
	return c
}
