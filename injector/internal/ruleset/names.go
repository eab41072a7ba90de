package ruleset

import (
	"fmt"
	"net/netip"
)

// Family is the address family of a packet.
type Family uint8

// The families.
const (
	IPv4 Family = iota
	IPv6
)

var families = [...]Family{IPv4, IPv6}

// FamilyOf returns the family of an address.
func FamilyOf(a netip.Addr) Family {
	if a.Is6() {
		return IPv6
	}
	return IPv4
}

// String returns the family as it appears in names of sets and chains.
func (f Family) String() string {
	if f == IPv6 {
		return "ip6"
	}
	return "ip4"
}

// header returns nft's name for the header of the family.
func (f Family) header() string {
	if f == IPv6 {
		return "ip6"
	}
	return "ip"
}

// end is the source or the destination of a packet.
type end uint8

const (
	destination end = iota
	source
)

var ends = [...]end{destination, source}

func (e end) other() end { return 1 - e }

// letter is the first letter of nft's names for an end's address and port.
func (e end) letter() string {
	if e == destination {
		return "d"
	}
	return "s"
}

// SetKind says what a set contains.
type SetKind uint8

// The kinds of sets. A rule has one of each per family, if it needs it.
const (
	NoSet    SetKind = iota
	Live             // flows that pass until they have been idle
	Captured         // flows that are diverted whole
	Released         // flows that are never diverted again
	Owned            // flows of the rule's Owner
	Ends             // service ends of the rule's target
)

// String returns the kind as names of sets begin.
func (k SetKind) String() string {
	return [...]string{"", "live", "captured", "released", "owned", "ends"}[k]
}

// SetName is the name of a set.
type SetName string

// SetOf returns the set of that kind of the rule with that ordinal, if it has one.
func SetOf(kind SetKind, rule int, f Family) SetName {
	return SetName(fmt.Sprintf("%s%d_%s", kind, rule, f))
}

// SetOp is a change of a flow in a set.
type SetOp uint8

// The changes.
const (
	Add    SetOp = iota // add it, unless it is there
	Update              // add it, or restart its timeout
	Delete              // remove it
)

func (o SetOp) String() string { return [...]string{"add", "update", "delete"}[o] }

// ChainName is the name of a chain.
type ChainName string

// Chains that exist once.
const (
	judge  ChainName = "judge"  // for packets of all hooks, if these share the rules
	marked ChainName = "marked" // for packets with a priority: ours, or with a signal
	later  ChainName = "later"  // for packets that a verdict sent through the rules once more
)

// Beginnings of the names of chains that a rule has; its ordinal and usually the family
// follow.
const (
	judgeOf = "judge" // decides which packets are queued
	laterOf = "later" // carries out the signals of packets
)

// Hook is a place in the kernel's path of a packet, in nft's words.
type Hook string

// The hooks.
const (
	InputHook   Hook = "input"
	ForwardHook Hook = "forward"
	OutputHook  Hook = "output"
)
