package cli

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/faultctl/faultctl/injector"
)

// dryRun shows what a run would do: the rules, and the connections that they
// would strike now.
func dryRun(e *env, p *plan, s session) error {
	fmt.Fprintf(e.stdout, "# The rules, as nft -f would read them. Where the kernel lacks nft's queue statement\n# it gets xt's NFQUEUE target instead, with bypass as well. Nothing was changed.\n%s", s.Ruleset())
	if p.cfg.NetNS != nil {
		fmt.Fprintln(e.stdout, "# The connections of another network namespace are not listed.")
		return nil
	}
	rule := &p.cfg.Rules[0]
	var lines []string
	for _, c := range connections("/proc/self/net") {
		if isProtected(p.cfg.Protect, c) {
			continue
		}
		switch {
		case rule.Match.Matches(c.remote, c.local):
			lines = append(lines, fmt.Sprintf("#   %s -> %s\n", c.remote, c.local))
		case rule.Match.Matches(c.local, c.remote):
			lines = append(lines, fmt.Sprintf("#   %s -> %s\n", c.local, c.remote))
		}
	}
	slices.Sort(lines)
	lines = slices.Compact(lines)
	fmt.Fprintf(e.stdout, "# %d connections are open now that match:\n", len(lines))
	for _, l := range lines {
		fmt.Fprint(e.stdout, l)
	}
	return nil
}

func isProtected(ts []injector.Tuple, c connection) bool {
	same := func(a, b netip.AddrPort) bool { return a == b }
	return slices.ContainsFunc(ts, func(t injector.Tuple) bool {
		return same(t.A, c.local) && same(t.B, c.remote) || same(t.B, c.local) && same(t.A, c.remote)
	})
}
