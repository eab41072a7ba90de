package ruleset

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/target"
)

// The rules for connections whose destination the host translates (DNAT). They exist
// only if it translates any, and only in that family: in a table of that family,
// because an expression that asks conntrack makes it track all families of its table.
//
// Conntrack knows by which address the client knows its server. In front of each
// judging chain, a rule asks it, and puts the answer into a map, with the packet's own
// ends as the key. What is sent to the client in that name is not tracked, because no
// NAT rule may touch it.
//
// For a client on this host the translation happens in output, behind mangle. So in
// output all chains judge behind the translation, where packets have the same names as
// their answers in input. Packets that the target matches by the name that the client
// uses, and packets that seem to leave by loopback because the client asked for an
// address of this host, are flagged for the judging chain: by Reply alone, which no
// verdict says.

// AfterDNAT is a priority in output behind the translation (NF_IP_PRI_NAT_DST, -100).
const AfterDNAT = -99

// beforeConntrack is a priority in front of NF_IP_PRI_CONNTRACK_DEFRAG and of raw.
const beforeConntrack = -401

// namesFor is how long a name is kept that no packet needs. The next packet of the
// client brings it back.
const namesFor = time.Hour

const mostNames = 1 << 17

// named is the priority of packets that are flagged for the judging chain, under
// allSignals.
const named = Reply

// Only says which packets the table of a set or chain sees.
type Only uint8

// The tables of a Ruleset. They have the same name.
const (
	EitherFamily Only = iota // family inet
	OnlyIPv4
	OnlyIPv6
)

func onlyOf(f Family) Only { return OnlyIPv4 + Only(f) }

// String returns nft's name for the family of the table.
func (o Only) String() string { return [...]string{"inet", "ip", "ip6"}[o] }

// NamesOf returns the map from the ends of translated connections, as packets have them
// where they are judged, to the address by which the client knows the server.
func NamesOf(f Family) SetName { return SetName("names_" + f.String()) }

// SourcedOf returns the set of those whose client address is translated as well.
func SourcedOf(f Family) SetName { return SetName("sourced_" + f.String()) }

// knownOf returns the set of the names in NamesOf, each with its client.
func knownOf(f Family) SetName { return SetName("known_" + f.String()) }

// localOf returns the set of the host's own addresses.
func localOf(f Family) SetName { return SetName("local_" + f.String()) }

func (in *Input) translates() bool { return in.NAT[IPv4] || in.NAT[IPv6] }

// priority returns the priority of the judging chain of a hook.
func (in *Input) priority(h Hook) int {
	if h == OutputHook && in.translates() {
		return in.Priority - Priority + AfterDNAT + 1
	}
	return in.Priority
}

// learnPriority returns the priority of the chains that learn the owner of a flow: in
// front of the chains of all runs, because a run may hold or replace the packet that
// tells another run.
func (in *Input) learnPriority(h Hook) int {
	if h == OutputHook && in.translates() {
		return AfterDNAT
	}
	return Priority - 1
}

// nat adds what translated connections need.
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

// translated returns the chain that packets of translated connections pass.
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

// judgeNamed makes the judging chains judge flagged packets regardless of their ends.
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
			// Packets that a verdict sent through once more need not match by their ends either.
			c.Rules = append([]Statements{{priorityHas(allSignals), goTo(s.Name)}}, c.Rules...)
			cs = append(cs, *s)
		}
		cs = append(cs, c)
	}
	rs.Chains = cs
}
