package injector

import (
	"cmp"
	"fmt"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/target"
)

// The kernel's half of a run, as data. Nothing here touches the kernel: a
// ruleset prints itself in nft syntax, and nftables.go puts it in.
//
// Invariants, each held by a test:
//
//  1. One table, ours alone, owned by a netlink connection that is kept open:
//     it dies with the process.
//  2. Our own packets (OwnSign) go before a set is asked or a packet queued.
//  3. Every queue rule has bypass.
//  4. Ports and addresses are matched here: unrelated traffic never reaches
//     user space.
//  5. Nothing of the host's is changed: no sysctl, qdisc, set or rule.
//  6. A packet that crosses loopback is judged once, in input.
//
// A verdict speaks to the rules through bits of the packet's priority (see
// signal), and sends the packet through them once more (NF_REPEAT): the packet
// itself changes the sets, so there is no window between the verdict and the
// rule that knows of it.
//
// What a waiting fault costs is what these rules cost a packet that they let
// pass, so each counts. A rule costs little while its expressions are those that
// the kernel has in its loop: a word, a half word or a byte of a header, a mask on
// a word, an equal. Each call costs ten times as much (verdicts, meta, comparing
// greater), a set fifty times (BenchmarkRules). So ports come first, sets last,
// and what a fault cannot come to need is not there.

// OwnSign is the priority (SO_PRIORITY) of every packet that faultctl sends:
// forged, duplicated or re-injected. It has none of the signal bits. Not a
// mark: a mark would route our packets by the host's fwmark rules, another way
// than the flow's own.
const OwnSign uint32 = 0x01a0_17c1

// signal is what a verdict tells the chain later, as bits of the packet's
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

// and is what s and what comes later have to say together. Of two signals that
// contradict each other the later one stands.
func (s signal) and(later signal) signal {
	if later&sigRelease != 0 {
		s &^= sigCapture
	}
	if later&sigCapture != 0 {
		s &^= sigRelease
	}
	return s | later
}

const (
	// judgePriority is where mangle sits: after conntrack, before NAT. A second
	// instance in the same namespace comes further down, so that each clears its
	// signals before the next one judges.
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
	queue  uint16 // the first queue
	uncut  uint16 // the first queue for what local senders send uncut; 0: there is none
	to     []rule // how packets reach them
	sets   []set
	chains []chain
}

// set holds flows by family, keyed client . port . server . port, or the service
// ends of a target, keyed address . port.
type set struct {
	name    string
	v6      bool
	timeout time.Duration     // 0: elements stay
	size    uint32            // flows it may hold; 0: setSize
	ends    []target.Endpoint // its elements, each of one address and port; nil: it holds flows
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

// newRuleset compiles the rules of a Config. queue is the number of the first
// queue, uncut that of the first for what local senders send uncut, or 0.
func newRuleset(cfg *Config, table string, queue, uncut uint16) *ruleset {
	rs := &ruleset{table: table, queue: queue, uncut: uncut}
	if uncut != 0 {
		rs.to = append(rs.to, rule{fromHere{}, count{}, enqueue{uncut, cfg.queues()}})
	}
	rs.to = append(rs.to, rule{count{}, enqueue{queue, cfg.queues()}})
	marked, later := chain{name: "marked"}, chain{name: "later"}
	marked.add(priorityIs(OwnSign), verdict("accept"))
	marked.add(priorityHas(sigAll), verdict("goto later"))
	rules := make([]compiled, len(cfg.Rules))
	for i := range cfg.Rules {
		rules[i] = compiled{cfg: &cfg.Rules[i], n: i, to: rs.to, diverts: diversion(cfg.Rules[i].Faults)}
		rs.chains = append(rs.chains, rules[i].compile(rs)...)
		later.add(verdict(fmt.Sprintf("jump later%d", i)))
	}
	later.add(priorityHas(sigDrop), count{}, verdict("drop"))
	later.add(clearSignals{})
	later.add(verdict("accept"))
	rs.chains = append(rs.chains, later, marked)
	rs.chains = append(rs.chains, hooks(priorityOf(queue), cfg, rules)...)
	rs.learn(cfg)
	return rs
}

// priorityOf is the priority of the chains of the instance that has the queue of
// that number.
func priorityOf(queue uint16) int {
	if queue < nfqueue.First || queue > nfqueue.Last {
		return judgePriority
	}
	return judgePriority + int(queue-nfqueue.First)
}

// diversion is what the faults of one rule want together.
func diversion(fs []NamedModel) faults.Diversion {
	models := make([]faults.Model, len(fs))
	for i, f := range fs {
		models[i] = f.Model
	}
	return faults.Together(models...)
}

// copies is how packets must be handed over for the faults of all rules: their
// queue is one. Who asked to see packets sees them whole, unless headers will do.
func copies(cfg *Config) nfqueue.Copying {
	how := nfqueue.Copying{GSO: true, Whole: cfg.OnPacket != nil && !cfg.HeadersOnly}
	for i := range cfg.Rules {
		d := diversion(cfg.Rules[i].Faults)
		how.Whole = how.Whole || d.Whole
		how.GSO = how.GSO && d.Super
		how.SeparateGSO = how.SeparateGSO || d.Holds
	}
	how.SeparateGSO = how.SeparateGSO && how.Whole && !how.GSO
	return how
}

// compiled is one rule of the Config on its way into chains.
type compiled struct {
	cfg     *Rule
	n       int
	to      []rule
	diverts faults.Diversion
}

func (r *compiled) name(what string, v6 bool) string {
	return fmt.Sprintf("%s%d_%s", what, r.n, family(v6))
}

// compile makes the rule's sets and chains, but not the rules that lead there.
func (r *compiled) compile(rs *ruleset) []chain {
	var cs []chain
	later := chain{name: fmt.Sprintf("later%d", r.n)}
	for _, v6 := range []bool{false, true} {
		if !r.dispatch(&later, "later", v6, "") {
			continue
		}
		rs.sets = append(rs.sets, r.sets(v6)...)
		if !r.cfg.Match.Owner.Any() {
			cs = append(cs, r.owned("judge", v6), r.owned("later", v6))
		}
		cs = append(cs, r.judge(v6)...)
		cs = append(cs, r.signals(v6, false), r.signals(v6, true), r.later(v6))
	}
	return append(cs, later)
}

func (r *compiled) sets(v6 bool) []set {
	var ss []set
	if together, _ := r.ends(v6); len(together) > 0 {
		ss = append(ss, set{name: r.name("ends", v6), v6: v6, ends: together})
	}
	if !r.cfg.Match.Owner.Any() {
		ss = append(ss, set{name: r.name("owned", v6), v6: v6, timeout: ownedFor})
	}
	return append(ss, r.verdictSets(v6)...)
}

// verdictSets are the sets that verdicts change.
func (r *compiled) verdictSets(v6 bool) []set {
	var ss []set
	if r.captures() {
		ss = append(ss, set{name: r.name("captured", v6), v6: v6})
	}
	if r.releases() {
		ss = append(ss, set{name: r.name("released", v6), v6: v6, timeout: releasedFor})
	}
	if r.diverts.Idle != 0 {
		ss = append(ss, set{name: r.name("live", v6), v6: v6, timeout: r.diverts.Idle})
	}
	return ss
}

// captures reports whether a captured flow must be told from others. Where all is
// diverted it is one that was not released.
func (r *compiled) captures() bool { return !r.diverts.NoCapture && !r.diverts.All }

// releases reports whether anything is diverted that may be of a released flow.
// A SYN is diverted whatever its flow is.
func (r *compiled) releases() bool {
	d := r.diverts
	d.SYN, d.NoCapture, d.Whole, d.Super = false, false, false, false
	return d != faults.Diversion{}
}

// later is what a signalled packet of the rule comes to.
func (r *compiled) later(v6 bool) chain {
	c := chain{name: r.name("later", v6)}
	c.add(priorityHas(sigReply), verdict("goto "+r.name("reply", v6)))
	c.add(verdict("goto " + r.name("original", v6)))
	return c
}

// signals carries out what the verdict on the packet asked for. A captured flow
// is never a released one, whichever set is asked.
func (r *compiled) signals(v6, mirror bool) chain {
	name := "original"
	if mirror {
		name = "reply"
	}
	c := chain{name: r.name(name, v6)}
	key := func(what string) lookup { return lookup{v6: v6, mirror: mirror, set: r.name(what, v6)} }
	for _, s := range r.verdictSets(v6) {
		c.add(priorityHas(sigForget), change{lookup{v6: v6, mirror: mirror, set: s.name}, "delete", 0})
	}
	put := func(sig signal, op, what string, timeout time.Duration) {
		flow := key(what)
		c.add(priorityHas(sig), change{flow, op, timeout})
		flow.not = true // a full set takes nothing in, and says nothing
		c.add(priorityHas(sig), flow, count{full: what})
	}
	if r.diverts.Idle != 0 {
		put(sigAdmit, "update", "live", r.diverts.Idle)
	}
	if r.releases() {
		put(sigRelease, "update", "released", releasedFor)
		c.add(priorityHas(sigCapture), change{key("released"), "delete", 0})
	}
	if r.captures() {
		put(sigCapture, "add", "captured", 0)
	}
	return c
}
