package ruleset

import (
	"slices"

	"github.com/faultctl/faultctl/injector/target"
)

// fewRules is how many rules a packet may be compared with in each hook. If there are
// more, they are in a chain that the hooks share.
const fewRules = 16

// hooks are the places where packets are judged. Packets of the loopback device are
// skipped in output: they are judged in input, where they may be held.
func hooks(in *Input, rules []compiled) []Chain {
	var cs []Chain
	inHooks := len(rules) == 1 && len(in.Protect) == 0 && rules[0].Match.Owner.Any()
	for _, hook := range []Hook{InputHook, ForwardHook, OutputHook} {
		c := Chain{Name: ChainName("judge_" + hook), Hook: hook, Priority: in.priority(hook)}
		if inHooks {
			for _, f := range families {
				rules[0].dispatch(&c, judgeOf, f, hook)
			}
			inHooks = len(c.Rules) <= fewRules
		}
		if !inHooks {
			c.Rules = nil
			if hook == OutputHook {
				c.add(oifLoopback{}, accept)
			}
			c.add(isTCP{}, goTo(judge))
		}
		cs = append(cs, c)
	}
	if inHooks {
		return cs
	}
	shared := Chain{Name: judge}
	for _, p := range in.Protect {
		for _, conn := range []target.Conn{p, {A: p.B, B: p.A}} {
			shared.add(addrIs{source, target.Single(conn.A.Addr())}, portIn{source, conn.A.Port(), conn.A.Port()},
				addrIs{destination, target.Single(conn.B.Addr())}, portIn{destination, conn.B.Port(), conn.B.Port()}, accept)
		}
	}
	var sub []Chain
	for i := range rules {
		c := Chain{Name: chainOf(judgeOf, i)}
		for _, f := range families {
			rules[i].dispatch(&c, judgeOf, f, "")
		}
		sub = append(sub, c)
		shared.add(jump(c.Name))
	}
	return slices.Concat(sub, []Chain{shared}, cs)
}

// dispatch sends the packets of one family that the rule is about to its chains. hook
// is the hook of c, if it has one; otherwise c gets only TCP, and nothing that leaves
// by loopback. It reports whether the rule can match that family at all.
func (r *compiled) dispatch(c *Chain, what string, f Family, hook Hook) bool {
	m := &r.Match
	before := len(c.Rules)
	for _, e := range m.Except {
		if !ofFamily(e, f) {
			continue
		}
		for _, at := range ends {
			c.add(append(endpointIs(e, f, at), ret)...)
		}
	}
	matched := false
	add := func(e target.Endpoint, at end, among Statements) {
		for _, s := range r.clients(f, at.other()) {
			c.add(slices.Concat(endpointIs(e, f, at), r.selected(what), s, among, met(f, hook), Statements{goTo(r.target(what, f, at))})...)
			matched = true
		}
	}
	together, others := r.ends(f)
	for _, ports := range portsOf(together) {
		for _, at := range ends {
			add(ports, at, Statements{endIn{f, at, r.set(Ends, f)}})
		}
	}
	for _, e := range others {
		for _, at := range ends {
			add(e, at, nil)
			if e == (target.Endpoint{}) && len(m.From) == 0 {
				break // both directions are the same
			}
		}
	}
	if !matched {
		c.Rules = c.Rules[:before]
	}
	return matched
}

// selected returns conditions that show here already that the rule does not divert a
// packet.
func (r *compiled) selected(what string) Statements {
	if what != judgeOf || !r.flagsOnly() {
		return nil
	}
	return Statements{flagsHave(r.flags())}
}

// met returns what remains to be asked about a packet in a hook.
func met(f Family, hook Hook) Statements {
	switch hook {
	case "":
		return nil
	case OutputHook:
		return Statements{tcpIn(f), oifForeign{}}
	}
	return Statements{tcpIn(f)}
}

// target returns the chain for packets whose service end is at that end.
func (r *compiled) target(what string, f Family, at end) ChainName {
	switch {
	case !r.Match.Owner.Any() && (what == judgeOf || what == laterOf):
		return r.chain("owned_"+what, f)
	case what != judgeOf:
		return r.chain(what, f)
	case r.flagsOnly():
		return r.chain("flagged", f)
	case !r.telling():
		return eitherWay.chain(r, what, f)
	case at == destination:
		return toServer.chain(r, what, f)
	}
	return toClient.chain(r, what, f)
}

// FewEnds is how many service ends, each with one address and port, a packet is
// compared with one by one. More are looked up in a set, which costs about as much as
// ten of them.
const FewEnds = 8

// ends returns the service ends of the family that the rule names: those that are
// looked up together, if they are many, and those that a packet is compared with.
func (r *compiled) ends(f Family) (together, others []target.Endpoint) {
	to := r.Match.To
	if len(to) == 0 {
		to = []target.Endpoint{{}}
	}
	var all []target.Endpoint
	had := map[target.Endpoint]bool{}
	for _, e := range to {
		if !ofFamily(e, f) || had[e] {
			continue
		}
		had[e] = true
		all = append(all, e)
		if e.Prefix.IsValid() && e.Prefix.IsSingleIP() && e.LowPort == e.HighPort && !e.AnyPort() {
			together = append(together, e)
		} else {
			others = append(others, e)
		}
	}
	if len(together) <= FewEnds {
		return nil, all
	}
	return together, others
}

// portsOf returns the ports of service ends that are looked up together: a packet is
// compared with them first. If there are many, it returns any port.
func portsOf(es []target.Endpoint) (ports []target.Endpoint) {
	for _, e := range es {
		p := target.Endpoint{LowPort: e.LowPort, HighPort: e.HighPort}
		if !slices.Contains(ports, p) {
			ports = append(ports, p)
		}
		if len(ports) > FewEnds {
			return []target.Endpoint{{}}
		}
	}
	return ports
}

// clients returns the conditions on the client's address, of which one must match. at
// says which end of the packet is the client.
func (r *compiled) clients(f Family, at end) []Statements {
	if len(r.Match.From) == 0 {
		return []Statements{nil}
	}
	var rs []Statements
	for _, p := range r.Match.From {
		if FamilyOf(p.Addr()) == f {
			rs = append(rs, Statements{addrIs{at, p}})
		}
	}
	return rs
}

// ofFamily reports whether e can match a packet of that family.
func ofFamily(e target.Endpoint, f Family) bool {
	return !e.Prefix.IsValid() || FamilyOf(e.Prefix.Addr()) == f
}

// endpointIs returns the statements that match a packet of the family with e at that
// end: its port first, which excludes most packets.
func endpointIs(e target.Endpoint, f Family, at end) Statements {
	var s Statements
	if !e.AnyPort() {
		s = append(s, portIn{at, e.LowPort, e.HighPort})
	}
	s = append(s, isFamily(f))
	if e.Prefix.IsValid() && e.Prefix.Bits() > 0 {
		s = append(s, addrIs{at, e.Prefix})
	}
	return s
}
