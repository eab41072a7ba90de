package ruleset

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/target"
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
