package injector

import (
	"fmt"
	"slices"

	"github.com/faultctl/faultctl/injector/target"
)

// fewRules is how many rules may be looked through in each hook before a packet
// is known to be of no interest. Where there would be more they stand in a chain
// that the hooks share.
const fewRules = 16

// hooks are the places where packets are met. The loopback device is passed over
// in output: its packets are judged in input, where they may be held.
func hooks(priority int, cfg *Config, rules []compiled) []chain {
	var cs []chain
	near := len(rules) == 1 && len(cfg.Protect) == 0 && rules[0].cfg.Match.Owner.Any()
	for _, hook := range []string{"input", "forward", "output"} {
		c := chain{name: "judge_" + hook, hook: hook, priority: priority}
		if near {
			for _, v6 := range []bool{false, true} {
				rules[0].dispatch(&c, "judge", v6, hook)
			}
			near = len(c.rules) <= fewRules
		}
		if !near {
			c.rules = nil
			if hook == "output" {
				c.add(oifLoopback{}, verdict("accept"))
			}
			c.add(isTCP{}, verdict("goto judge"))
		}
		cs = append(cs, c)
	}
	if near {
		return cs
	}
	judge := chain{name: "judge"}
	for _, p := range cfg.Protect {
		for _, ends := range [][2]faultEnd{{{p.A}, {p.B}}, {{p.B}, {p.A}}} {
			judge.add(addrIs{false, ends[0].endpoint().Prefix}, portIn{false, ends[0].Port(), ends[0].Port()},
				addrIs{true, ends[1].endpoint().Prefix}, portIn{true, ends[1].Port(), ends[1].Port()}, verdict("accept"))
		}
	}
	var sub []chain
	for i := range rules {
		c := chain{name: fmt.Sprintf("judge%d", i)}
		for _, v6 := range []bool{false, true} {
			rules[i].dispatch(&c, "judge", v6, "")
		}
		sub = append(sub, c)
		judge.add(verdict("jump " + c.name))
	}
	return slices.Concat(sub, []chain{judge}, cs)
}

// dispatch sends the packets of one family that the rule is about to their
// chain. hook is the place if that is where c hangs; elsewhere only TCP arrives,
// and nothing that leaves by loopback. It reports whether the rule can match
// that family at all.
func (r *compiled) dispatch(c *chain, what string, v6 bool, hook string) bool {
	m := &r.cfg.Match
	before := len(c.rules)
	for _, e := range m.Except {
		if !ofFamily(e, v6) {
			continue
		}
		for _, dst := range []bool{true, false} {
			c.add(append(matchEnd(e, v6, dst), verdict("return"))...)
		}
	}
	matched := false
	add := func(e target.Endpoint, dst bool, among rule) {
		for _, s := range r.clients(v6, !dst) {
			c.add(slices.Concat(matchEnd(e, v6, dst), r.selected(what), s, among, met(v6, hook), rule{verdict("goto " + r.target(what, v6, dst))})...)
			matched = true
		}
	}
	together, others := r.ends(v6)
	for _, ports := range portsOf(together) {
		for _, dst := range []bool{true, false} {
			add(ports, dst, rule{endIn{v6, dst, r.name("ends", v6)}})
		}
	}
	for _, e := range others {
		for _, dst := range []bool{true, false} {
			add(e, dst, nil)
			if e == (target.Endpoint{}) && len(m.From) == 0 {
				break // both directions look the same
			}
		}
	}
	if !matched {
		c.rules = c.rules[:before]
	}
	return matched
}

// selected is what tells already here that a packet is none of those that the rule
// diverts.
func (r *compiled) selected(what string) rule {
	if what != "judge" || !r.flagsOnly() {
		return nil
	}
	return rule{flagsHave{r.flags()}}
}

// met is what remains to be asked of a packet in a hook.
func met(v6 bool, hook string) rule {
	switch hook {
	case "":
		return nil
	case "output":
		return rule{tcpIn{v6}, oifForeign{}}
	}
	return rule{tcpIn{v6}}
}

// target is the chain for packets to the service end (dst) or from it.
func (r *compiled) target(what string, v6, dst bool) string {
	switch {
	case !r.cfg.Match.Owner.Any() && (what == "judge" || what == "later"):
		return r.name("owned_"+what, v6)
	case what != "judge":
		return r.name(what, v6)
	case r.flagsOnly():
		return r.name("flagged", v6)
	case !r.parted():
		return either.chain(r, what, v6)
	case dst:
		return there.chain(r, what, v6)
	}
	return back.chain(r, what, v6)
}

// fewEnds is how many service ends of one address and port a packet is compared with
// one by one. More are looked up in a set, which costs as much as some ten of them.
const fewEnds = 8

// ends are the service ends of the family that the rule names: those that are looked
// up together, if they are many, and those that a packet is compared with.
func (r *compiled) ends(v6 bool) (together, others []target.Endpoint) {
	to := r.cfg.Match.To
	if len(to) == 0 {
		to = []target.Endpoint{{}}
	}
	var all []target.Endpoint
	had := map[target.Endpoint]bool{}
	for _, e := range to {
		if !ofFamily(e, v6) || had[e] {
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
	if len(together) <= fewEnds {
		return nil, all
	}
	return together, others
}

// portsOf are the ports of service ends that are looked up together: a packet is
// compared with those before. Where they are many as well, any port.
func portsOf(es []target.Endpoint) (ports []target.Endpoint) {
	for _, e := range es {
		p := target.Endpoint{LowPort: e.LowPort, HighPort: e.HighPort}
		if !slices.Contains(ports, p) {
			ports = append(ports, p)
		}
		if len(ports) > fewEnds {
			return []target.Endpoint{{}}
		}
	}
	return ports
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
