// Package ruleset is the kernel's half of a run, as data: the tables, sets, chains
// and rules that decide which packets user space sees. It touches no kernel: a
// Ruleset prints itself in nft syntax and gives the expressions that the kernel
// takes; package nft puts it in.
//
// Invariants, each held by a test:
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
// A verdict speaks to the rules through bits of the packet's priority (see Signal),
// and sends the packet through them once more (NF_REPEAT): the packet itself changes
// the sets, so there is no window between the verdict and the rule that knows of it.
//
// What a waiting fault costs is what these rules cost a packet that they let pass, so
// each counts. A rule costs little while its expressions are those that the kernel
// has in its loop: a word, a half word or a byte of a header, a mask on a word, an
// equal. Each call costs ten times as much (verdicts, meta, comparing greater), a set
// fifty times (BenchmarkRules). So ports come first, sets last, and rules that a
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
	// Priority is that of the base chains of the first instance in a namespace. It is
	// where mangle sits: after conntrack, before NAT. A further instance comes further
	// down, so that each clears its signals before the next one judges.
	Priority = -150

	// ReleasedFor is how long the kernel remembers that a flow was released. A flow
	// that lives longer costs one more trip to user space, which does remember, each
	// time.
	ReleasedFor = time.Hour

	setSize = 1 << 20 // elements a set may hold
)

// Input is what a Ruleset is compiled from.
type Input struct {
	Table    string        // the name of the table
	Tag      sign.Tag      // of what runs send in the namespace
	Level    int           // of this run, which its chains' Priority follows
	Priority int           // of the base chains, see Priority
	Rules    []Rule        // in the order of their ordinals
	Protect  []target.Conn // connections that no rule touches

	NAT   [2]bool      // by Family: the host translates destinations
	Local []netip.Addr // its own addresses, where it does

	Queue    uint16 // the number of the first queue
	GSOQueue uint16 // the first queue for what local senders send as they made it; 0: there is none
	Queues   uint16 // how many queues there are of each, with numbers in a row; 1 at least
}

// Rule is which packets a rule wants of which connections.
type Rule struct {
	Match   target.Matcher
	Diverts faults.Diversion // of its faults together
}

// Ruleset is a table: its sets and chains in the order they are made.
type Ruleset struct {
	Table  string
	Sets   []Set
	Chains []Chain

	to []Statements // how packets reach their queues
}

// Set holds flows by family, keyed client . port . server . port, or the service
// ends of a target, keyed address . port.
type Set struct {
	Name    SetName
	Family  Family
	Timeout time.Duration     // 0: elements stay
	Size    uint32            // flows that it may hold; 0: 2^20
	Only    Only              // which table it is in
	Ends    []target.Endpoint // its elements, each of one address and port; nil: it holds flows
	Addrs   []netip.Addr      // its elements, if it holds addresses; nil: it does not
	Names   bool              // it is a map, from flows to service ends
}

// Holds returns how many flows the set may hold.
func (s Set) Holds() uint32 { return cmp.Or(s.Size, setSize) }

// GCInterval is how often the kernel should look for expired elements of a set:
// each time it walks over all of them, and a million each second, its default,
// are a ninth of a core. What has expired is not found in the meantime, it only
// takes up memory and room.
func GCInterval(timeout time.Duration) time.Duration {
	return min(max(time.Second, timeout/4), 10*time.Second)
}

// Chain is a list of rules, and the hook that they hang on.
type Chain struct {
	Name     ChainName
	Hook     Hook // empty for a chain that is jumped to
	Priority int  // of one with a hook
	Only     Only // which table it is in
	duty     duty // of one with a hook
	Rules    []Statements
}

// duty is what a chain with a hook is for.
type duty uint8

const (
	judging  duty = iota
	learning      // what judging needs to know
	sending       // what judging has sent goes through it
)

func (c *Chain) add(s ...statement) { c.Rules = append(c.Rules, s) }

// Compile makes the rules for that input.
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

// Disarmed returns the rules as they are while nothing is to be diverted, but for what
// verdicts that are under way have to say. Only the base chains are others. They stay:
// taking a base chain out makes the kernel drop what sits in the queues of the namespace
// (nf_queue_nf_hook_drop), and those packets are to go on.
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

// SameSets reports whether flows of a rule that diverts a are in the same sets as those
// of one that diverts b: the rules of one may then follow those of the other while flows
// are in them.
func SameSets(a, b faults.Diversion) bool {
	ra, rb := compiled{Rule: &Rule{Diverts: a}}, compiled{Rule: &Rule{Diverts: b}}
	return a.All == b.All && a.Idle == b.Idle && a.Refresh == b.Refresh && slices.Equal(ra.verdictSets(), rb.verdictSets())
}

// compiled is one rule of the Input on its way into chains.
type compiled struct {
	*Rule
	n  int
	to []Statements

	anyEnds bool // packets are judged that do not have the target's ends, see nat
}

func (r *compiled) set(kind SetKind, f Family) SetName { return SetOf(kind, r.n, f) }

func (r *compiled) chain(what string, f Family) ChainName {
	return ChainName(fmt.Sprintf("%s%d_%s", what, r.n, f))
}

// chainOf is the chain of a rule for packets of both families.
func chainOf(what string, rule int) ChainName { return ChainName(fmt.Sprintf("%s%d", what, rule)) }

// compile makes the rule's sets and chains, but not the rules that lead there.
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

// verdictSets are the sets that verdicts change.
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

// timeout is how long a flow stays in a set that verdicts change.
func (r *compiled) timeout(kind SetKind) time.Duration {
	switch kind {
	case Released:
		return ReleasedFor
	case Live:
		return r.Diverts.Idle
	}
	return 0
}

// captures reports whether a captured flow must be told from others. Where all is
// diverted it is one that was not released.
func (r *compiled) captures() bool { return !r.Diverts.NoCapture && !r.Diverts.All }

// releases reports whether anything is diverted that may be of a released flow.
// A SYN is diverted whatever its flow is.
func (r *compiled) releases() bool {
	d := r.Diverts
	d.SYN, d.NoCapture, d.Whole, d.Super = false, false, false, false
	return d != faults.Diversion{}
}

// later is where a signalled packet of the rule comes to.
func (r *compiled) later(f Family) Chain {
	c := Chain{Name: r.chain(laterOf, f)}
	c.add(priorityHas(Reply), goTo(r.chain(signalsOf(faults.Reply), f)))
	c.add(goTo(r.chain(signalsOf(faults.Original), f)))
	return c
}

// signalsOf is what the chains are called that carry out the signals of packets of
// that direction.
func signalsOf(dir faults.Direction) string {
	if dir == faults.Reply {
		return "reply"
	}
	return "original"
}

// signals carries out what the verdict on the packet asked for. A captured flow
// is never a released one, whichever set is asked.
func (r *compiled) signals(f Family, dir faults.Direction) Chain {
	c := Chain{Name: r.chain(signalsOf(dir), f)}
	flow := func(kind SetKind) flowIn { return flowIn{f, dir, r.set(kind, f)} }
	for _, kind := range r.verdictSets() {
		c.add(priorityHas(Forget), change{flow(kind), Delete, 0})
	}
	put := func(sig Signal, op SetOp, kind SetKind) {
		c.add(priorityHas(sig), change{flow(kind), op, r.timeout(kind)})
		c.add(priorityHas(sig), notIn{flow(kind)}, count{full: kind}) // a full set takes nothing in, and says nothing
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
