// Package target says which connections are meant: by their two ends, by the
// process that owns one of them, and by a choice among those that match. It
// reads targets as people type them.
package target

import (
	"net/netip"
	"slices"
)

// Conn is a connection as its two ends, in either order.
type Conn struct{ A, B netip.AddrPort }

// Matcher says which connections are meant. The zero value matches every TCP
// connection.
type Matcher struct {
	To     []Endpoint     // the service end lies in one of these; empty means any
	Except []Endpoint     // and in none of these
	From   []netip.Prefix // the client's address lies in one of these; empty means any
	Owner  Owner          // the process that owns an end; the zero Owner means any process
}

// Matches reports whether m matches a connection with these ends; the owner
// is not checked.
func (m *Matcher) Matches(client, server netip.AddrPort) bool {
	for _, e := range m.Except {
		if e.Contains(server) || e.Contains(client) {
			return false
		}
	}
	return containedIn(m.To, server) && (len(m.From) == 0 || prefixesContain(m.From, client.Addr()))
}

// Wide reports whether m names neither an address, a port nor an owner.
func (m *Matcher) Wide() bool { return len(m.To) == 0 && len(m.From) == 0 && m.Owner.Any() }

// Names reports whether m names exactly that connection: one end by an address
// with one port, the other by an address.
func (m *Matcher) Names(c Conn) bool {
	for _, ends := range [...][2]netip.AddrPort{{c.A, c.B}, {c.B, c.A}} {
		for _, to := range m.To {
			if !to.Prefix.IsSingleIP() || to.LowPort == 0 || to.LowPort != to.HighPort || !to.Contains(ends[0]) {
				continue
			}
			for _, from := range m.From {
				if from.IsSingleIP() && from.Contains(ends[1].Addr()) {
					return true
				}
			}
		}
	}
	return false
}

// Endpoint is a set of addresses and ports.
type Endpoint struct {
	Prefix   netip.Prefix // the zero Prefix means any address of both families
	LowPort  uint16       // the first port; 0 with HighPort 0 means any port
	HighPort uint16       // the last port, itself included
}

// Contains reports whether ap lies in e.
func (e Endpoint) Contains(ap netip.AddrPort) bool {
	if e.Prefix.IsValid() && !e.Prefix.Contains(ap.Addr()) {
		return false
	}
	return e.AnyPort() || e.LowPort <= ap.Port() && ap.Port() <= e.HighPort
}

// AnyPort reports whether e names no port.
func (e Endpoint) AnyPort() bool { return e.LowPort == 0 && e.HighPort == 0 }

// Covers reports whether e has all addresses and ports of inner.
func (e Endpoint) Covers(inner Endpoint) bool {
	if e.Prefix.IsValid() && (!inner.Prefix.IsValid() || e.Prefix.Bits() > inner.Prefix.Bits() || !e.Prefix.Contains(inner.Prefix.Addr())) {
		return false
	}
	return e.LowPort == 0 || inner.LowPort != 0 && e.LowPort <= inner.LowPort && inner.HighPort <= e.HighPort
}

func containedIn(es []Endpoint, ap netip.AddrPort) bool {
	for _, e := range es {
		if e.Contains(ap) {
			return true
		}
	}
	return len(es) == 0
}

func prefixesContain(ps []netip.Prefix, a netip.Addr) bool {
	for _, p := range ps {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// MixedFamilies reports whether To and From have no address family in common,
// so that no connection can match.
func (m *Matcher) MixedFamilies() bool {
	return len(m.To) > 0 && len(m.From) > 0 && !slices.ContainsFunc(m.To, func(e Endpoint) bool {
		return !e.Prefix.IsValid() || slices.ContainsFunc(m.From, func(p netip.Prefix) bool { return p.Addr().Is4() == e.Prefix.Addr().Is4() })
	})
}

// AllExcepted reports whether Except covers all that To names, so that no
// connection can match.
func (m *Matcher) AllExcepted() bool {
	return len(m.To) > 0 && !slices.ContainsFunc(m.To, func(e Endpoint) bool {
		return !slices.ContainsFunc(m.Except, func(out Endpoint) bool { return out.Covers(e) })
	})
}

// Single is the prefix of one address, as packets carry it: an IPv4-mapped
// IPv6 address becomes IPv4, and the zone is removed.
func Single(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	return netip.PrefixFrom(a, a.BitLen())
}
