package cli

import (
	"net/netip"
	"slices"

	"github.com/faultctl/faultctl/injector"
)

// unmeetable says why no packet can ever match m: a run that can only end in
// "never fired" is a mistake in the flags.
func unmeetable(m injector.Matcher) error {
	if len(m.To) > 0 && len(m.From) > 0 && !slices.ContainsFunc(m.To, func(e injector.Endpoint) bool {
		return !e.Prefix.IsValid() || slices.ContainsFunc(m.From, func(p netip.Prefix) bool { return p.Addr().Is4() == e.Prefix.Addr().Is4() })
	}) {
		return usageError("--to and --from: one names IPv4 addresses only, the other IPv6 addresses only: no connection has both").
			hint("Give the addresses of one family, or of both in both flags.")
	}
	if len(m.To) > 0 && !slices.ContainsFunc(m.To, func(e injector.Endpoint) bool {
		return !slices.ContainsFunc(m.Except, func(out injector.Endpoint) bool { return covers(out, e) })
	}) {
		return usageError("--to: what the ! excludes leaves out all that --to names").
			hint("A ! takes a part out of what the other --to name, such as --to 10.0.0.0/8:5432 --to '!10.0.0.7'.")
	}
	return nil
}

// covers reports whether outer has all addresses and ports of inner.
func covers(outer, inner injector.Endpoint) bool {
	if outer.Prefix.IsValid() && (!inner.Prefix.IsValid() || outer.Prefix.Bits() > inner.Prefix.Bits() || !outer.Prefix.Contains(inner.Prefix.Addr())) {
		return false
	}
	return outer.LowPort == 0 || inner.LowPort != 0 && outer.LowPort <= inner.LowPort && inner.HiPort <= outer.HiPort
}
