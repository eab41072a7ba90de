package ruleset

import (
	"fmt"
	"net/netip"
)

// Family is that of a packet's addresses.
type Family uint8

// The families.
const (
	IPv4 Family = iota
	IPv6
)

var families = [...]Family{IPv4, IPv6}

// FamilyOf is the family of an address.
func FamilyOf(a netip.Addr) Family {
	if a.Is6() {
		return IPv6
	}
	return IPv4
}

// String is the family as names of sets and chains have it.
func (f Family) String() string {
	if f == IPv6 {
		return "ip6"
	}
	return "ip4"
}

// header is nft's word for the family's header.
func (f Family) header() string {
	if f == IPv6 {
		return "ip6"
	}
	return "ip"
}

// end is one end of a packet's way.
type end uint8

const (
	destination end = iota
	source
)

var ends = [...]end{destination, source}

func (e end) other() end { return 1 - e }

// letter is how nft's words for an end's address and port begin.
func (e end) letter() string {
	if e == destination {
		return "d"
	}
	return "s"
}

// SetKind says what a set's elements are.
type SetKind uint8

// The kinds of sets. A rule has each of them once a family, if it needs it.
const (
	NoSet    SetKind = iota
	Live             // flows that pass until they have been idle
	Captured         // flows that are diverted whole
	Released         // flows that are never diverted again
	Owned            // flows of the rule's Owner
	Ends             // service ends of the rule's target
)

// String is the kind as names of sets begin.
func (k SetKind) String() string {
	return [...]string{"", "live", "captured", "released", "owned", "ends"}[k]
}

// SetName is the name of a set.
type SetName string

// SetOf is the set of that kind that the rule of that ordinal has, if it has one.
func SetOf(kind SetKind, rule int, f Family) SetName {
	return SetName(fmt.Sprintf("%s%d_%s", kind, rule, f))
}

// SetOp is a change of a flow in a set.
type SetOp uint8

// The changes.
const (
	Add    SetOp = iota // put it in, unless it is there
	Update              // put it in, or have its timeout begin anew
	Delete              // take it out
)

func (o SetOp) String() string { return [...]string{"add", "update", "delete"}[o] }

// ChainName is the name of a chain.
type ChainName string

// Chains that there is one of.
const (
	judge  ChainName = "judge"  // for packets of each hook, where the rules stand once for all of them
	marked ChainName = "marked" // for packets with a priority: ours, or signalled
	later  ChainName = "later"  // for packets that a verdict sent through the rules again
)

// Chains that a rule has are called these, with its ordinal behind it and mostly the
// family.
const (
	judgeOf = "judge" // which packets are queued
	laterOf = "later" // what signalled packets change
)

// Hook is a place in the kernel's path of a packet, as nft calls it.
type Hook string

// The hooks.
const (
	InputHook   Hook = "input"
	ForwardHook Hook = "forward"
	OutputHook  Hook = "output"
)
