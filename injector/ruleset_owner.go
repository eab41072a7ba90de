package injector

import (
	"fmt"
	"time"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The rules of an Owner. Its flows are learnt where the kernel knows the
// process behind a packet, before anything else, and kept in a set that the
// other chains look them up in. A SYN begins a new connection, perhaps another
// process's on old addresses and ports, so it clears the set first; but not
// where it arrives over loopback: it was learnt on its way out then.

// ownedFor is how long the kernel remembers whose a flow is that its owner's
// process sends nothing on. With the next packet it is learnt again.
const ownedFor = 24 * time.Hour

// learn puts the chains in that learn whose a flow is, if any rule asks.
func (rs *ruleset) learn(cfg *Config) {
	var sub []chain
	for _, hook := range []string{"input", "output"} {
		c := chain{name: "learn_" + hook}
		c.add(priorityIs(OwnSign), verdict("return"))
		asked := false
		for i := range cfg.Rules {
			r := compiled{cfg: &cfg.Rules[i], n: i}
			if r.cfg.Match.Owner.Any() {
				continue
			}
			asked = true
			what := "learn_" + hook
			dispatch := chain{name: fmt.Sprintf("%s%d", what, i)}
			for _, v6 := range []bool{false, true} {
				if r.dispatch(&dispatch, what, v6, "") {
					sub = append(sub, r.learn(what, v6, hook == "output"))
				}
			}
			sub = append(sub, dispatch)
			c.add(verdict("jump " + dispatch.name))
		}
		if !asked {
			return
		}
		sub = append(sub, c)
	}
	for i := range rs.chains {
		if c := &rs.chains[i]; c.name == "judge_input" || c.name == "judge_output" {
			c.rules = append([]rule{{isTCP{}, verdict("jump learn_" + c.hook)}}, c.rules...)
		}
	}
	rs.chains = append(sub, rs.chains...)
}

// learn puts a flow into the set of those that are the owner's.
func (r *compiled) learn(what string, v6, output bool) chain {
	c := chain{name: r.name(what, v6)}
	for _, mirror := range []bool{false, true} {
		var s rule
		if !output {
			s = append(s, iifForeign{})
		}
		c.add(append(s, flagsAre{"syn|ack", "syn"}, change{lookup{v6: v6, mirror: mirror, set: r.name("owned", v6)}, "delete", 0})...)
	}
	o := r.cfg.Match.Owner
	var s rule
	if o.Cgroup != nil {
		s = append(s, cgroupIs(*o.Cgroup))
	}
	if o.UID != nil {
		if !output {
			return c // no user is known there
		}
		s = append(s, userIs(*o.UID))
	}
	flow := lookup{v6: v6, set: r.name("owned", v6)}
	missing := flow
	missing.not = true
	c.add(append(s[:len(s):len(s)], change{flow, "update", ownedFor})...)
	c.add(append(rule{flagsAre{"syn|ack", "syn"}}, append(s[:len(s):len(s)], missing, count{full: "owned"})...)...)
	return c
}

// owned passes on the packets of flows that are the owner's.
func (r *compiled) owned(what string, v6 bool) chain {
	c := chain{name: r.name("owned_"+what, v6)}
	for _, mirror := range []bool{false, true} {
		c.add(lookup{v6: v6, mirror: mirror, set: r.name("owned", v6)}, verdict("goto "+r.name(what, v6)))
	}
	return c
}

func (iifForeign) exprs(*applier) []expr.Any {
	return []expr.Any{meta(expr.MetaKeyIIFTYPE), compare(expr.CmpOpNeq, binaryutil.NativeEndian.PutUint16(unix.ARPHRD_LOOPBACK))}
}

func (s userIs) exprs(*applier) []expr.Any {
	return []expr.Any{meta(expr.MetaKeySKUID), compare(expr.CmpOpEq, host32(uint32(s)))}
}

// exprs of cgroupIs compare the ancestor of the socket's cgroup at that level
// with its id, the inode number of its directory.
func (s cgroupIs) exprs(*applier) []expr.Any {
	return []expr.Any{
		&expr.Socket{Key: expr.SocketKeyCgroupv2, Level: s.Level, Register: r0},
		compare(expr.CmpOpEq, binaryutil.NativeEndian.PutUint64(s.ID)),
	}
}
