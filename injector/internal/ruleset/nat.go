package ruleset

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The rules for connections whose destination the host translates (DNAT). They are
// there only where it translates any, in the family that it does it in: in a table of
// that family alone, because an expression that asks conntrack has it track all of its
// table's families.
//
// Conntrack knows what the client calls its server. A rule asks it, in front of each
// judging chain, and puts the answer into a map, keyed by the packet's own ends. What is
// sent in such a name towards the client is not tracked: no rule for NAT may touch it.
//
// A client on this host is translated in output, behind mangle. So there all chains
// judge behind the translation, where packets have the same names as their answers in
// input. Those that the target names as the client does, and those that seem to leave by
// loopback because the client asked for an address of this host, are flagged for the
// judging chain, by Reply alone, which no verdict says.

// AfterDNAT is a priority in output behind the translation (NF_IP_PRI_NAT_DST, -100).
const AfterDNAT = -99

// beforeConntrack is in front of NF_IP_PRI_CONNTRACK_DEFRAG and raw's.
const beforeConntrack = -401

// namesFor is how long a name stays that no packet needs. The next one of the client's
// brings it back.
const namesFor = time.Hour

const mostNames = 1 << 17

// The bits of a connection's status (linux/netfilter/nf_conntrack_common.h).
const (
	ctSNAT = 1 << 4 // IPS_SRC_NAT
	ctDNAT = 1 << 5 // IPS_DST_NAT
)

// named is the priority of a packet that is flagged for the judging chain, under
// allSignals.
const named = Reply

// Only says which packets the table of a set or chain sees.
type Only uint8

// The tables of a Ruleset: all of one name.
const (
	EitherFamily Only = iota // of family inet
	OnlyIPv4
	OnlyIPv6
)

func onlyOf(f Family) Only { return OnlyIPv4 + Only(f) }

// String is the table's family as nft calls it.
func (o Only) String() string { return [...]string{"inet", "ip", "ip6"}[o] }

// NamesOf is the map from the ends of translated connections, as packets have them where
// they are judged, to what the client calls its server.
func NamesOf(f Family) SetName { return SetName("names_" + f.String()) }

// SourcedOf is the set of those among them whose client is translated as well.
func SourcedOf(f Family) SetName { return SetName("sourced_" + f.String()) }

// knownOf is the set of the names in NamesOf, each with its client.
func knownOf(f Family) SetName { return SetName("known_" + f.String()) }

// localOf is the set of the host's own addresses.
func localOf(f Family) SetName { return SetName("local_" + f.String()) }

func (in *Input) translates() bool { return in.NAT[IPv4] || in.NAT[IPv6] }

// priority is that of the judging chain of a hook.
func (in *Input) priority(h Hook) int {
	if h == OutputHook && in.translates() {
		return in.Priority - Priority + AfterDNAT + 1
	}
	return in.Priority
}

// learnPriority is that of the chains that learn whose a flow is: in front of the chains
// of all runs, for one may hold back or replace the packet that tells another run.
func (in *Input) learnPriority(h Hook) int {
	if h == OutputHook && in.translates() {
		return AfterDNAT
	}
	return Priority - 1
}

// nat puts in what belongs to translated connections.
func (rs *Ruleset) nat(in *Input, rules []compiled) {
	if !in.translates() {
		return
	}
	for _, f := range families {
		if !in.NAT[f] {
			continue
		}
		only := onlyOf(f)
		rs.Sets = append(rs.Sets,
			Set{Name: NamesOf(f), Family: f, Only: only, Timeout: namesFor, Size: mostNames, Names: true},
			Set{Name: SourcedOf(f), Family: f, Only: only, Timeout: namesFor, Size: mostNames},
			Set{Name: knownOf(f), Family: f, Only: only, Timeout: namesFor, Size: mostNames},
			Set{Name: localOf(f), Family: f, Only: only, Addrs: in.localAddrs(f)})
		for _, hook := range []Hook{InputHook, ForwardHook, OutputHook} {
			to := ChainName(fmt.Sprintf("translated_%s_%s", hook, f))
			rs.Chains = append(rs.Chains, translated(to, hook, f, rules))
			c := Chain{Name: ChainName(fmt.Sprintf("names_%s_%s", hook, f)), Only: only, Hook: hook, Priority: in.priority(hook) - 1, duty: learning}
			c.add(isTCP{}, ctStatus(ctDNAT), goTo(to))
			rs.Chains = append(rs.Chains, c)
		}
		c := Chain{Name: ChainName("untracked_" + f.String()), Only: only, Hook: OutputHook, Priority: beforeConntrack, duty: sending}
		c.add(ours(in.Tag), isTCP{}, flowIn{f, faults.Reply, knownOf(f)}, notrack{})
		c.add(ours(in.Tag), quotesKnown{f, knownOf(f)}, notrack{})
		rs.Chains = append(rs.Chains, c)
	}
	rs.judgeNamed(in, rules)
}

func (in *Input) localAddrs(f Family) []netip.Addr {
	as := []netip.Addr{} // not nil: it is a set of addresses
	for _, a := range in.Local {
		if FamilyOf(a) == f {
			as = append(as, a)
		}
	}
	return as
}

// translated is what happens to a packet of a translated connection.
func translated(name ChainName, hook Hook, f Family, rules []compiled) Chain {
	c := Chain{Name: name, Only: onlyOf(f)}
	there := flowIn{f, faults.Original, NamesOf(f)}
	syn := flagsAre{handshake, packet.SYN}
	for _, s := range []statement{nameIn{there, Delete}, nameIn{there, Add}, knownIn{f, faults.Original, knownOf(f)}} {
		c.add(syn, s)
	}
	c.add(syn, change{flowIn{f, faults.Original, SourcedOf(f)}, Delete, 0})
	for _, dir := range eitherWay.directions() {
		flow, sourced := flowIn{f, dir, NamesOf(f)}, flowIn{f, dir, SourcedOf(f)}
		c.add(ctDirection(dir), notIn{flow}, nameIn{flow, Add}, knownIn{f, dir, knownOf(f)})
		c.add(ctDirection(dir), ctStatus(ctSNAT), notIn{sourced}, change{sourced, Add, namesFor})
	}
	if hook == ForwardHook {
		return c
	}
	at := destination // where the service is
	if hook == InputHook {
		at = source
		c.add(ctDirection(faults.Original), ret)
	} else {
		loopback := netip.MustParsePrefix("127.0.0.0/8")
		if f == IPv6 {
			loopback = netip.MustParsePrefix("::1/128")
		}
		c.add(ctDirection(faults.Reply), ret)
		c.add(addrIs{destination, loopback}, ret)
		c.add(addrIn{f, destination, localOf(f)}, ret)
	}
	for i := range rules {
		r := &rules[i]
		to := r.Match.To
		if len(to) == 0 {
			to = []target.Endpoint{{}}
		}
		for _, e := range to {
			if !ofFamily(e, f) {
				continue
			}
			for _, clients := range r.clients(f, at.other()) {
				if hook == OutputHook {
					c.add(append(append(endpointIs(e, f, at), clients...), oifLoopback{}, flag{}, accept)...)
				}
				if e != (target.Endpoint{}) {
					c.add(append(append(askedFor(e, f), clients...), flag{}, accept)...)
				}
			}
		}
	}
	return c
}

// askedFor matches packets of connections whose client asked for that end.
func askedFor(e target.Endpoint, f Family) (s Statements) {
	if !e.AnyPort() {
		s = append(s, ctPortIn{e.LowPort, e.HighPort})
	}
	if e.Prefix.IsValid() && e.Prefix.Bits() > 0 {
		s = append(s, ctAddrIs(e.Prefix))
	}
	return s
}

// judgeNamed has the judging chains judge flagged packets whatever ends they have.
func (rs *Ruleset) judgeNamed(in *Input, rules []compiled) {
	sub := map[Hook]*Chain{InputHook: {Name: "named_input"}, OutputHook: {Name: "named_output"}}
	at := map[Hook]end{InputHook: source, OutputHook: destination}
	for _, hook := range []Hook{InputHook, OutputHook} {
		c := sub[hook]
		c.add(notFlagged{}, goTo(later))
		c.add(clearSignals{})
		for _, f := range families {
			for i := range rules {
				if in.NAT[f] && rules[i].dispatch(&Chain{}, judgeOf, f, "") {
					c.add(append(append(Statements{isFamily(f)}, rules[i].selected(judgeOf)...), jump(rules[i].target(judgeOf, f, at[hook])))...)
				}
			}
		}
		c.add(accept)
	}
	var cs []Chain
	for _, c := range rs.Chains {
		if s := sub[c.Hook]; s != nil && c.duty == judging {
			// What a verdict sent through once more need not match by its ends either.
			c.Rules = append([]Statements{{priorityHas(allSignals), goTo(s.Name)}}, c.Rules...)
			cs = append(cs, *s)
		}
		cs = append(cs, c)
	}
	rs.Chains = cs
}

type (
	ctStatus    uint32 // one of the bits of the connection's status
	ctDirection faults.Direction
	ctAddrIs    netip.Prefix // what the client asked for
	ctPortIn    struct{ low, high uint16 }
	addrIn      struct {
		family Family
		at     end
		set    SetName
	}
	// nameIn changes what the client calls its server.
	nameIn struct {
		flowIn
		op SetOp
	}
	// knownIn puts the client into a set, with that name.
	knownIn struct {
		family Family
		dir    faults.Direction
		set    SetName
	}
	// quotesKnown matches ICMP errors about a packet from the client to that name.
	quotesKnown struct {
		family Family
		set    SetName
	}
	notrack    struct{}
	flag       struct{} // for the judging chain
	notFlagged struct{}
)

func (s ctStatus) nft() string { return fmt.Sprintf("ct status & %#x != 0", uint32(s)) }
func (s ctDirection) nft() string {
	if faults.Direction(s) == faults.Reply {
		return "ct direction reply"
	}
	return "ct direction original"
}
func (s ctAddrIs) nft() string {
	p := netip.Prefix(s)
	text := p.Masked().String()
	if p.IsSingleIP() {
		text = p.Addr().String()
	}
	return fmt.Sprintf("ct original %s daddr %s", FamilyOf(p.Addr()).header(), text)
}
func (s ctPortIn) nft() string {
	if s.low == s.high {
		return fmt.Sprintf("ct original proto-dst %d", s.low)
	}
	return fmt.Sprintf("ct original proto-dst %d-%d", s.low, s.high)
}
func (s addrIn) nft() string {
	return fmt.Sprintf("%s %saddr @%s", s.family.header(), s.at.letter(), s.set)
}
func asked(f Family) string {
	return fmt.Sprintf("ct original %s daddr . ct original proto-dst", f.header())
}
func (s nameIn) nft() string {
	return fmt.Sprintf("%s @%s { %s timeout %s : %s }", s.op, s.set, key(s.family, s.dir), durationText(namesFor), asked(s.family))
}
func (s knownIn) nft() string {
	at := source
	if s.dir == faults.Reply {
		at = destination
	}
	return fmt.Sprintf("update @%s { %s %saddr . tcp %sport . %s timeout %s }", s.set, s.family.header(), at.letter(), at.letter(), asked(s.family), durationText(namesFor))
}
func (s quotesKnown) nft() string {
	if s.family == IPv6 {
		return fmt.Sprintf("meta l4proto ipv6-icmp @th,128,128 . @th,384,16 . @th,256,128 . @th,400,16 @%s", s.set)
	}
	return fmt.Sprintf("meta l4proto icmp @th,160,32 . @th,224,16 . @th,192,32 . @th,240,16 @%s", s.set)
}
func (notrack) nft() string { return "notrack" }
func (flag) nft() string    { return fmt.Sprintf("meta priority set meta priority | %#x", uint32(named)) }
func (notFlagged) nft() string {
	return fmt.Sprintf("meta priority & %#x != %#x", uint32(allSignals), uint32(named))
}

func (s ctStatus) exprs(*Env) []expr.Any {
	return []expr.Any{&expr.Ct{Key: expr.CtKeySTATUS, Register: r0}, masked(host32(uint32(s))), compare(expr.CmpOpNeq, host32(0))}
}

func (s ctDirection) exprs(*Env) []expr.Any {
	return []expr.Any{&expr.Ct{Key: expr.CtKeyDIRECTION, Register: r0}, compare(expr.CmpOpEq, []byte{byte(s)})}
}

func ctAddr(f Family, reg uint32) expr.Any {
	k := expr.CtKeyDSTIP
	if f == IPv6 {
		k = expr.CtKeyDSTIP6
	}
	return &expr.Ct{Key: k, Direction: expr.CtDirOriginal, OptDirection: true, Register: reg}
}

func ctPort(reg uint32) expr.Any {
	return &expr.Ct{Key: expr.CtKeyPROTODST, Direction: expr.CtDirOriginal, OptDirection: true, Register: reg}
}

func (s ctAddrIs) exprs(*Env) []expr.Any {
	p := netip.Prefix(s)
	addr := p.Masked().Addr().AsSlice()
	es := []expr.Any{ctAddr(FamilyOf(p.Addr()), r0)}
	if !p.IsSingleIP() {
		mask := make([]byte, len(addr))
		for i := range p.Bits() {
			mask[i/8] |= 0x80 >> (i % 8)
		}
		es = append(es, masked(mask))
	}
	return append(es, compare(expr.CmpOpEq, addr))
}

func (s ctPortIn) exprs(*Env) []expr.Any {
	if s.low == s.high {
		return []expr.Any{ctPort(r0), compare(expr.CmpOpEq, be16(s.low))}
	}
	return []expr.Any{ctPort(r0), compare(expr.CmpOpGte, be16(s.low)), compare(expr.CmpOpLte, be16(s.high))}
}

func (s addrIn) exprs(env *Env) []expr.Any {
	name, id := env.Set(s.set)
	offset, size := uint32(12), uint32(4)
	if s.family == IPv6 {
		offset, size = 8, 16
	}
	if s.at == destination {
		offset += size
	}
	return []expr.Any{
		&expr.Payload{DestRegister: r0, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size},
		&expr.Lookup{SourceRegister: r0, SetName: name, SetID: id},
	}
}

// words is how many registers an address takes.
func (f Family) words() uint32 {
	if f == IPv6 {
		return 4
	}
	return 1
}

func (s nameIn) exprs(env *Env) []expr.Any {
	name, id := env.Set(s.set)
	reg := r0 + 2*(s.family.words()+1)
	return append(s.load(), ctAddr(s.family, reg), ctPort(reg+s.family.words()),
		&expr.Dynset{SrcRegKey: r0, SrcRegData: reg, SetName: name, SetID: id, Operation: dynsetOps[s.op], Timeout: namesFor})
}

func (s knownIn) exprs(env *Env) []expr.Any {
	name, id := env.Set(s.set)
	es := flowIn{family: s.family, dir: s.dir}.load()
	reg := r0 + s.family.words() + 1
	return append(es[:len(es)/2:len(es)/2], ctAddr(s.family, reg), ctPort(reg+s.family.words()),
		&expr.Dynset{SrcRegKey: r0, SetName: name, SetID: id, Operation: dynsetOps[Update], Timeout: namesFor})
}

func (s quotesKnown) exprs(env *Env) []expr.Any {
	name, id := env.Set(s.set)
	proto, at, size, ports := byte(unix.IPPROTO_ICMP), uint32(8+12), uint32(4), uint32(8+20)
	if s.family == IPv6 {
		proto, at, size, ports = unix.IPPROTO_ICMPV6, 8+8, 16, 8+40
	}
	es := []expr.Any{meta(expr.MetaKeyL4PROTO), compare(expr.CmpOpEq, []byte{proto})}
	reg := uint32(r0)
	for end := range uint32(2) {
		es = append(es,
			&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: at + end*size, Len: size},
			&expr.Payload{DestRegister: reg + s.family.words(), Base: expr.PayloadBaseTransportHeader, Offset: ports + end*2, Len: 2})
		reg += s.family.words() + 1
	}
	return append(es, &expr.Lookup{SourceRegister: r0, SetName: name, SetID: id})
}

func (notrack) exprs(*Env) []expr.Any { return []expr.Any{&expr.Notrack{}} }

func (flag) exprs(*Env) []expr.Any {
	return []expr.Any{
		meta(expr.MetaKeyPRIORITY),
		&expr.Bitwise{SourceRegister: r0, DestRegister: r0, Len: 4, Mask: host32(^uint32(named)), Xor: host32(uint32(named))},
		&expr.Meta{Key: expr.MetaKeyPRIORITY, SourceRegister: true, Register: r0},
	}
}

func (notFlagged) exprs(*Env) []expr.Any {
	return []expr.Any{meta(expr.MetaKeyPRIORITY), masked(host32(uint32(allSignals))), compare(expr.CmpOpNeq, host32(uint32(named)))}
}
