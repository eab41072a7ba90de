package injector

import (
	"cmp"
	"fmt"
	"time"

	"github.com/faultctl/faultctl/faults"
)

// The kernel's half of a run, as data. Nothing here touches the kernel: a
// ruleset prints itself in nft syntax, and nftables.go puts it in.
//
// Invariants, each held by a test:
//
//  1. One table, ours alone, owned by a netlink connection that is kept open:
//     it dies with the process.
//  2. The first rule accepts our own packets (OwnSign).
//  3. Every queue rule has bypass.
//  4. Ports and addresses are matched here: unrelated traffic never reaches
//     user space.
//  5. Nothing of the host's is changed: no sysctl, qdisc, set or rule.
//  6. A packet that crosses loopback is judged once, in input.
//
// A verdict speaks to the chains behind the queue through bits of the packet's
// priority (see signal): the packet itself changes the sets, so there is no
// window between the verdict and the rule that knows of it.

// OwnSign is the priority (SO_PRIORITY) of every packet that faultctl sends:
// forged, duplicated or re-injected. It has none of the signal bits. Not a
// mark: a mark would route our packets by the host's fwmark rules, another way
// than the flow's own.
const OwnSign uint32 = 0x01a0_17c1

// signal is what a verdict tells the later chain, as bits of the packet's
// priority, which gets its own value back there. SO_PRIORITY and tc class
// handles leave these bits alone in practice: they make major numbers from
// 0x0100 on, and classids count from 1.
type signal uint32

const (
	sigForget  signal = 1 << 30 // a new connection on these addresses and ports: clear the sets
	sigAdmit   signal = 1 << 29 // let the flow pass until it has been idle
	sigRelease signal = 1 << 28 // never divert the flow again
	sigCapture signal = 1 << 27 // divert the whole flow
	sigDrop    signal = 1 << 26 // drop this packet once the sets know: loss, since it had left TCP
	sigReply   signal = 1 << 25 // the packet travels from server to client

	sigAll = sigForget | sigAdmit | sigRelease | sigCapture | sigDrop | sigReply
)

const (
	// judgePriority is where mangle sits: after conntrack, before NAT. A second
	// instance in the same namespace comes two further down, so that each
	// clears its signals before the next one judges.
	judgePriority = -150

	// releasedFor is how long the kernel remembers that a flow was released.
	// A flow that lives longer costs one more trip to user space, which does
	// remember, each time.
	releasedFor = time.Hour

	setSize = 1 << 20 // elements a set may hold
)

// ruleset is a table: its sets and chains in the order they are made.
type ruleset struct {
	table  string
	queue  uint16  // the first queue
	to     enqueue // how packets reach it and the others
	sets   []set
	chains []chain
}

// set holds flows by family, keyed client . port . server . port.
type set struct {
	name    string
	v6      bool
	timeout time.Duration // 0: elements stay
	size    uint32        // elements it may hold; 0: setSize
}

func (s set) holds() uint32 { return cmp.Or(s.size, setSize) }

type chain struct {
	name     string
	hook     string // input, forward or output; empty for a chain that is jumped to
	priority int
	rules    []rule
}

// rule is a list of statements, evaluated left to right until one does not
// match.
type rule []statement

func (c *chain) add(s ...statement) { c.rules = append(c.rules, s) }

// newRuleset compiles the rules of a Config. queue is the number of the first queue.
func newRuleset(cfg *Config, table string, queue uint16) *ruleset {
	rs := &ruleset{table: table, queue: queue, to: enqueue{queue, cfg.queues()}}
	judge, later := chain{name: "judge"}, chain{name: "later"}
	for _, c := range []*chain{&judge, &later} {
		c.add(priorityIs(OwnSign), verdict("accept"))
		for _, p := range cfg.Protect {
			for _, ends := range [][2]faultEnd{{{p.A}, {p.B}}, {{p.B}, {p.A}}} {
				c.add(addrIs{false, ends[0].endpoint().Prefix}, portIn{false, ends[0].Port(), ends[0].Port()},
					addrIs{true, ends[1].endpoint().Prefix}, portIn{true, ends[1].Port(), ends[1].Port()}, verdict("accept"))
			}
		}
	}
	var sub []chain
	for i := range cfg.Rules {
		r := compiled{cfg: &cfg.Rules[i], n: i, to: rs.to, diverts: diversion(cfg.Rules[i].Faults)}
		sub = append(sub, r.compile(rs)...)
		judge.add(verdict(fmt.Sprintf("jump judge%d", i)))
		later.add(verdict(fmt.Sprintf("jump later%d", i)))
	}
	later.add(priorityHas(sigDrop), count{}, verdict("drop"))
	later.add(priorityHas(sigAll), clearSignals{})

	rs.chains = append(append(sub, judge, later), hooks(priorityOf(queue), refreshes(cfg.Rules))...)
	rs.learn(cfg)
	return rs
}

// priorityOf is the priority of the judge chains of the instance that has the
// queue of that number; its later chains come one behind.
func priorityOf(queue uint16) int {
	if queue < firstQueue || queue > lastQueue {
		return judgePriority
	}
	return judgePriority + 2*int(queue-firstQueue)
}

// hooks are the places where packets are met. The loopback device is passed
// over in output: its packets are judged in input, where they may be held. A
// packet that no verdict has signalled on has nothing to do in the later chains,
// unless some rule refreshes idle timers there.
func hooks(priority int, refreshes bool) []chain {
	var cs []chain
	for _, at := range []struct {
		prefix   string
		priority int
	}{{"judge", priority}, {"later", priority + 1}} {
		for _, hook := range []string{"input", "forward", "output"} {
			c := chain{name: at.prefix + "_" + hook, hook: hook, priority: at.priority}
			if hook == "output" {
				c.add(oifLoopback{}, verdict("accept"))
			}
			if at.prefix == "later" && !refreshes {
				c.add(priorityLacks(sigAll), verdict("accept"))
			}
			c.add(isTCP{}, verdict("goto "+at.prefix))
			cs = append(cs, c)
		}
	}
	return cs
}

// diversion is what the faults of one rule want together. A SYN is always
// among it: it starts the flow, and tells a new connection from an old one on
// the same addresses and ports.
func diversion(fs []NamedModel) faults.Diversion {
	d := faults.Diversion{SYN: true}
	for _, f := range fs {
		d = d.Union(f.Model.Diverts())
	}
	return d
}

// refreshes reports whether a packet that was let pass may have to keep a flow
// from expiring.
func refreshes(rules []Rule) bool {
	for i := range rules {
		if diversion(rules[i].Faults).Idle != 0 {
			return true
		}
	}
	return false
}

// copies is how packets must be handed over for the faults of all rules: their
// queue is one. Who asked to see packets sees them whole, unless headers will do.
func copies(cfg *Config) copying {
	how := copying{super: true, whole: cfg.OnPacket != nil && !cfg.HeadersOnly}
	for i := range cfg.Rules {
		for _, f := range cfg.Rules[i].Faults {
			d := f.Model.Diverts()
			how.whole = how.whole || d.Whole
			how.super = how.super && d.Super
		}
	}
	return how
}

// compiled is one rule of the Config on its way into chains.
type compiled struct {
	cfg     *Rule
	n       int
	to      enqueue
	diverts faults.Diversion
}

func (r *compiled) name(what string, v6 bool) string {
	return fmt.Sprintf("%s%d_%s", what, r.n, family(v6))
}

func (r *compiled) compile(rs *ruleset) []chain {
	var cs []chain
	for _, what := range []string{"judge", "later"} {
		dispatch := chain{name: fmt.Sprintf("%s%d", what, r.n)}
		for _, v6 := range []bool{false, true} {
			if !r.dispatch(&dispatch, what, v6) {
				continue
			}
			if !r.cfg.Match.Owner.Any() {
				cs = append(cs, r.owned(what, v6))
			}
			if what == "judge" {
				cs = append(cs, r.enqueue(v6), r.divert(v6))
				rs.sets = append(rs.sets, r.sets(v6)...)
			} else {
				cs = append(cs, r.signals(v6, false), r.signals(v6, true))
			}
			for _, w := range r.ways(v6) {
				if what == "judge" {
					cs = append(cs, r.judge(v6, w))
				} else {
					cs = append(cs, r.later(v6, w)...)
				}
			}
		}
		cs = append(cs, dispatch)
	}
	return cs
}

func (r *compiled) sets(v6 bool) []set {
	var ss []set
	if !r.cfg.Match.Owner.Any() {
		ss = append(ss, set{name: r.name("owned", v6), v6: v6, timeout: ownedFor})
	}
	return append(ss, r.verdictSets(v6)...)
}

// verdictSets are the sets that verdicts change.
func (r *compiled) verdictSets(v6 bool) []set {
	ss := []set{
		{name: r.name("captured", v6), v6: v6},
		{name: r.name("released", v6), v6: v6, timeout: releasedFor},
	}
	if r.diverts.Idle != 0 {
		ss = append(ss, set{name: r.name("live", v6), v6: v6, timeout: r.diverts.Idle})
	}
	return ss
}

// signals carries out what the verdict on the packet asked for.
func (r *compiled) signals(v6, mirror bool) chain {
	name := "original"
	if mirror {
		name = "reply"
	}
	c := chain{name: r.name(name, v6)}
	for _, s := range r.verdictSets(v6) {
		c.add(priorityHas(sigForget), change{lookup{v6: v6, mirror: mirror, set: s.name}, "delete", 0})
	}
	put := func(sig signal, op, set string, timeout time.Duration) {
		flow := lookup{v6: v6, mirror: mirror, set: r.name(set, v6)}
		c.add(priorityHas(sig), change{flow, op, timeout})
		flow.not = true // a full set takes nothing in, and says nothing
		c.add(priorityHas(sig), flow, count{full: set})
	}
	if r.diverts.Idle != 0 {
		put(sigAdmit, "update", "live", r.diverts.Idle)
	}
	put(sigRelease, "update", "released", releasedFor)
	put(sigCapture, "add", "captured", 0)
	return c
}
