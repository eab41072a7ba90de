package ruleset

import (
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
)

// The rules for an Owner. Its flows are learned where the kernel knows the process of a
// packet, before any run judges it, and are kept in a set that the other chains look
// them up in. What another run sends in a packet's place comes from a socket of that
// run, and tells nothing. A SYN begins a new connection, perhaps of another process on
// old addresses and ports, so it clears the set first; but not if it comes by loopback,
// because its flow was learned on its way out.

// ownedFor is how long the kernel remembers the owner of a flow on which the owner's
// process sends nothing. It learns it again from the next packet.
const ownedFor = 24 * time.Hour

// learn adds the chains that learn the owners of flows, if any rule has an Owner.
func (rs *Ruleset) learn(in *Input, rules []compiled) {
	var sub []Chain
	for _, hook := range []Hook{InputHook, OutputHook} {
		what := "learn_" + string(hook)
		c := Chain{Name: ChainName(what), Hook: hook, Priority: in.learnPriority(hook), duty: learning}
		c.add(ours(in.Tag), ret)
		asked := false
		for i := range rules {
			r := &rules[i]
			if r.Match.Owner.Any() {
				continue
			}
			asked = true
			dispatch := Chain{Name: chainOf(what, i)}
			for _, f := range families {
				if r.dispatch(&dispatch, what, f, "") {
					sub = append(sub, r.learn(what, f, hook))
				}
			}
			sub = append(sub, dispatch)
			c.add(isTCP{}, jump(dispatch.Name))
		}
		if !asked {
			return
		}
		sub = append(sub, c)
	}
	rs.Chains = append(sub, rs.Chains...)
}

// learn adds a flow to the set of those that belong to the owner.
func (r *compiled) learn(what string, f Family, hook Hook) Chain {
	c := Chain{Name: r.chain(what, f)}
	flow := flowIn{f, faults.Original, r.set(Owned, f)}
	for _, dir := range eitherWay.directions() {
		var s Statements
		if hook == InputHook {
			s = append(s, iifForeign{})
		}
		c.add(append(s, flagsAre{handshake, packet.SYN}, change{flowIn{f, dir, flow.set}, Delete, 0})...)
	}
	o := r.Match.Owner
	var s Statements
	if o.Cgroup != nil {
		s = append(s, cgroupIs(*o.Cgroup))
	}
	if o.UID != nil {
		if hook == InputHook {
			return c // the user is not known there
		}
		s = append(s, userIs(*o.UID))
	}
	c.add(append(s[:len(s):len(s)], change{flow, Update, ownedFor})...)
	c.add(append(Statements{flagsAre{handshake, packet.SYN}}, append(s[:len(s):len(s)], notIn{flow}, count{full: Owned})...)...)
	return c
}

// owned passes on packets of flows that belong to the owner.
func (r *compiled) owned(what string, f Family) Chain {
	c := Chain{Name: r.chain("owned_"+what, f)}
	for _, dir := range eitherWay.directions() {
		c.add(flowIn{f, dir, r.set(Owned, f)}, goTo(r.chain(what, f)))
	}
	return c
}
