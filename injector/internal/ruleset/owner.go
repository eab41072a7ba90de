package ruleset

import (
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
)

// The rules of an Owner. Its flows are learnt where the kernel knows the
// process behind a packet, before any run judges it, and kept in a set that the
// other chains look them up in. What another run sends again in a packet's place
// comes from a socket of that run and tells nothing. A SYN begins a new connection, perhaps another
// process's on old addresses and ports, so it clears the set first; but not
// where it arrives over loopback: it was learnt on its way out then.

// ownedFor is how long the kernel remembers whose a flow is that its owner's
// process sends nothing on. With the next packet it is learnt again.
const ownedFor = 24 * time.Hour

// learn puts the chains in that learn whose a flow is, if any rule asks.
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

// learn puts a flow into the set of those that are the owner's.
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
			return c // no user is known there
		}
		s = append(s, userIs(*o.UID))
	}
	c.add(append(s[:len(s):len(s)], change{flow, Update, ownedFor})...)
	c.add(append(Statements{flagsAre{handshake, packet.SYN}}, append(s[:len(s):len(s)], notIn{flow}, count{full: Owned})...)...)
	return c
}

// owned passes on the packets of flows that are the owner's.
func (r *compiled) owned(what string, f Family) Chain {
	c := Chain{Name: r.chain("owned_"+what, f)}
	for _, dir := range eitherWay.directions() {
		c.add(flowIn{f, dir, r.set(Owned, f)}, goTo(r.chain(what, f)))
	}
	return c
}
