// Package ruleset is the kernel's half of a run, as data: the tables, sets, chains and
// rules that decide which packets user space sees. It does not touch the kernel: a
// Ruleset prints itself in nft syntax, and gives the expressions for the kernel;
// package nft installs it.
//
// Invariants, each with a test:
//
//  1. One table, ours alone, owned by a netlink connection that is kept open:
//     it dies with the process. Where the host translates destinations there is one
//     more for each family in which it does, of the same name.
//  2. What a run of this level or a higher one sends (see package sign) goes before
//     a set is asked or a packet queued.
//  3. Every queue rule has bypass.
//  4. Ports and addresses are matched here: unrelated traffic never reaches
//     user space.
//  5. Nothing of the host's is changed: no sysctl, qdisc, set or rule.
//  6. A packet that crosses loopback is judged once, in input.
//
// A verdict tells the rules something through bits of the packet's priority (see
// Signal), and sends the packet through them once more (NF_REPEAT). The packet itself
// changes the sets, so there is no moment between the verdict and the rules that know
// of it.
//
// A waiting fault costs what these rules cost each packet that they let pass, so every
// rule matters. A rule costs little as long as the kernel executes its expressions
// without a call: a word, a half word or a byte of a header, a mask on a word, an
// equality. Each call costs ten times as much (verdicts, meta, comparing greater), a
// set fifty times (BenchmarkRules). So ports come first, sets last, and rules that a
// fault can never need are not generated.
package ruleset

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/sign"
	"github.com/faultctl/faultctl/injector/target"
)

const (
	// Priority is the priority of the base chains of the first instance in a namespace:
	// that of mangle, behind conntrack and in front of NAT. Further instances come
	// later, so that each clears its signals before the next one judges.
	Priority = -150

	// ReleasedFor is how long the kernel remembers that a flow was released. A flow that
	// lives longer costs another trip to user space each time, which does remember.
	ReleasedFor = time.Hour

	setSize = 1 << 20 // the most elements of a set
)

// Input is what a Ruleset is compiled from.
type Input struct {
	Table    string        // the name of the table
	Tag      sign.Tag      // of the packets that runs send in the namespace
	Level    int           // of this run; Priority follows from it
	Priority int           // of the base chains, see Priority
	Rules    []Rule        // in the order of their ordinals
	Protect  []target.Conn // connections that no rule touches

	NAT   [2]bool      // by Family: the host translates destinations
	Local []netip.Addr // its own addresses, if it does

	Queue    uint16 // the number of the first queue
	GSOQueue uint16 // the first queue for GSO packets of local senders; 0: there is none
	Queues   uint16 // how many queues of each kind there are, with consecutive numbers; at least 1
}

// Rule says which packets of which connections are diverted.
type Rule struct {
	Match   target.Matcher
	Diverts faults.Diversion // what its faults need together
}

// Ruleset is the sets and chains of a run, in the order in which they are created.
type Ruleset struct {
	Table  string
	Sets   []Set
	Chains []Chain

	to []Statements // the rules by which packets reach their queues
}

// Set contains the flows of one family, with the key client . port . server . port, or
// the service ends of a target, with the key address . port.
type Set struct {
	Name    SetName
	Family  Family
	Timeout time.Duration     // 0: elements do not expire
	Size    uint32            // the most flows; 0: 2^20
	Only    Only              // the table that it is in
	Ends    []target.Endpoint // its elements, each with one address and port; nil: it contains flows
	Addrs   []netip.Addr      // its elements, if it contains addresses; nil: it does not
	Names   bool              // it is a map, from flows to service ends
}

// Holds returns how many flows the set has room for.
func (s Set) Holds() uint32 { return cmp.Or(s.Size, setSize) }

// GCInterval returns how often the kernel should search a set for expired elements.
// Each time it walks over all of them: for a million elements each second, the default,
// that takes a ninth of a processor. Expired elements are not found in the meantime;
// they only take up room.
func GCInterval(timeout time.Duration) time.Duration {
	return min(max(time.Second, timeout/4), 10*time.Second)
}

// Chain is a list of rules, and the hook where packets meet it.
type Chain struct {
	Name     ChainName
	Hook     Hook // empty for a chain that others jump to
	Priority int  // of a chain with a hook
	Only     Only // the table that it is in
	duty     duty // of a chain with a hook
	Rules    []Statements
}

// duty is what a chain with a hook is for.
type duty uint8

const (
	judging  duty = iota
	learning      // learns what judging needs to know
	sending       // packets that a run has sent pass it
)

func (c *Chain) add(s ...statement) { c.Rules = append(c.Rules, s) }

// Compile returns the rules for that input.
func Compile(in *Input) *Ruleset {
	rs := &Ruleset{Table: in.Table}
	if in.GSOQueue != 0 {
		rs.to = append(rs.to, Statements{fromHere{}, count{}, enqueue{in.GSOQueue, in.Queues}})
	}
	rs.to = append(rs.to, Statements{count{}, enqueue{in.Queue, in.Queues}})
	signalled, later := Chain{Name: marked}, Chain{Name: later}
	signalled.add(append(passes(in.Tag, in.Level), accept)...)
	signalled.add(priorityHas(allSignals), goTo(later.Name))
	rules := make([]compiled, len(in.Rules))
	for i := range in.Rules {
		rules[i] = compiled{Rule: &in.Rules[i], n: i, to: rs.to, anyEnds: in.translates()}
		rs.Chains = append(rs.Chains, rules[i].compile(rs)...)
		later.add(jump(chainOf(laterOf, i)))
	}
	later.add(priorityHas(Drop), count{}, drop)
	later.add(clearSignals{})
	later.add(accept)
	rs.Chains = append(rs.Chains, later, signalled)
	rs.Chains = append(rs.Chains, hooks(in, rules)...)
	rs.learn(in, rules)
	rs.nat(in, rules)
	return rs
}

// Disarmed returns the rules as they are while nothing is to be diverted, except that
// they still carry out the signals of verdicts that are under way. Only the base chains
// differ. They stay, because if a base chain is removed the kernel drops the packets in
// the queues of the namespace (nf_queue_nf_hook_drop), and those must pass.
func (rs *Ruleset) Disarmed() *Ruleset {
	d := *rs
	d.Chains = slices.Clone(rs.Chains)
	for i := range d.Chains {
		switch {
		case d.Chains[i].Hook == "":
		case d.Chains[i].duty == sending:
		case d.Chains[i].duty == learning:
			d.Chains[i].Rules = nil
		default:
			d.Chains[i].Rules = []Statements{{priorityHas(allSignals), goTo(later)}}
		}
	}
	return &d
}

// SameSets reports whether the flows of a rule that diverts a are in the same sets as
// those of a rule that diverts b: then the one can replace the other while flows are in
// the sets.
func SameSets(a, b faults.Diversion) bool {
	ra, rb := compiled{Rule: &Rule{Diverts: a}}, compiled{Rule: &Rule{Diverts: b}}
	return a.All == b.All && a.Idle == b.Idle && a.Refresh == b.Refresh && slices.Equal(ra.verdictSets(), rb.verdictSets())
}

// compiled is one rule of the Input while it is turned into chains.
type compiled struct {
	*Rule
	n  int
	to []Statements

	anyEnds bool // packets are judged whose ends the target does not match, see nat
}

func (r *compiled) set(kind SetKind, f Family) SetName { return SetOf(kind, r.n, f) }

func (r *compiled) chain(what string, f Family) ChainName {
	return ChainName(fmt.Sprintf("%s%d_%s", what, r.n, f))
}

// chainOf returns the name of a rule's chain for packets of both families.
func chainOf(what string, rule int) ChainName { return ChainName(fmt.Sprintf("%s%d", what, rule)) }

// compile creates the rule's sets and chains, but not the rules that lead there.
func (r *compiled) compile(rs *Ruleset) []Chain {
	var cs []Chain
	later := Chain{Name: chainOf(laterOf, r.n)}
	for _, f := range families {
		before := len(later.Rules)
		if !r.dispatch(&later, laterOf, f, "") {
			continue
		}
		if r.anyEnds {
			later.Rules = append(later.Rules[:before], Statements{isFamily(f), goTo(r.target(laterOf, f, destination))})
		}
		rs.Sets = append(rs.Sets, r.sets(f)...)
		if !r.Match.Owner.Any() {
			cs = append(cs, r.owned(judgeOf, f), r.owned(laterOf, f))
		}
		cs = append(cs, r.judge(f)...)
		cs = append(cs, r.signals(f, faults.Original), r.signals(f, faults.Reply), r.later(f))
	}
	return append(cs, later)
}

func (r *compiled) sets(f Family) []Set {
	var ss []Set
	if together, _ := r.ends(f); len(together) > 0 {
		ss = append(ss, Set{Name: r.set(Ends, f), Family: f, Ends: together})
	}
	if !r.Match.Owner.Any() {
		ss = append(ss, Set{Name: r.set(Owned, f), Family: f, Timeout: ownedFor})
	}
	for _, kind := range r.verdictSets() {
		ss = append(ss, Set{Name: r.set(kind, f), Family: f, Timeout: r.timeout(kind)})
	}
	return ss
}

// verdictSets returns the sets that verdicts change.
func (r *compiled) verdictSets() []SetKind {
	var kinds []SetKind
	if r.captures() {
		kinds = append(kinds, Captured)
	}
	if r.releases() {
		kinds = append(kinds, Released)
	}
	if r.Diverts.Idle != 0 {
		kinds = append(kinds, Live)
	}
	return kinds
}

// timeout returns how long a flow stays in a set that verdicts change.
func (r *compiled) timeout(kind SetKind) time.Duration {
	switch kind {
	case Released:
		return ReleasedFor
	case Live:
		return r.Diverts.Idle
	}
	return 0
}

// captures reports whether captured flows must be distinguished from others. If
// everything is diverted, a captured flow is one that was not released.
func (r *compiled) captures() bool { return !r.Diverts.NoCapture && !r.Diverts.All }

// releases reports whether anything is diverted that may belong to a released flow. A
// SYN is always diverted.
func (r *compiled) releases() bool {
	d := r.Diverts
	d.SYN, d.NoCapture, d.Whole, d.Super = false, false, false, false
	return d != faults.Diversion{}
}

// later returns the chain for packets of the rule that carry signals.
func (r *compiled) later(f Family) Chain {
	c := Chain{Name: r.chain(laterOf, f)}
	c.add(priorityHas(Reply), goTo(r.chain(signalsOf(faults.Reply), f)))
	c.add(goTo(r.chain(signalsOf(faults.Original), f)))
	return c
}

// signalsOf returns the name of the chains that carry out the signals of packets of
// that direction.
func signalsOf(dir faults.Direction) string {
	if dir == faults.Reply {
		return "reply"
	}
	return "original"
}

// signals carries out what the verdict on the packet asked for. A captured flow is
// never a released one, whichever set is asked.
func (r *compiled) signals(f Family, dir faults.Direction) Chain {
	c := Chain{Name: r.chain(signalsOf(dir), f)}
	flow := func(kind SetKind) flowIn { return flowIn{f, dir, r.set(kind, f)} }
	for _, kind := range r.verdictSets() {
		c.add(priorityHas(Forget), change{flow(kind), Delete, 0})
	}
	put := func(sig Signal, op SetOp, kind SetKind) {
		c.add(priorityHas(sig), change{flow(kind), op, r.timeout(kind)})
		c.add(priorityHas(sig), notIn{flow(kind)}, count{full: kind}) // a full set ignores new elements without an error
	}
	if r.Diverts.Idle != 0 {
		put(Admit, Update, Live)
	}
	if r.releases() {
		put(Release, Update, Released)
		c.add(priorityHas(Capture), change{flow(Released), Delete, 0})
	}
	if r.captures() {
		put(Capture, Add, Captured)
	}
	return c
}
