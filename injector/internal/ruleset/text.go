package ruleset

import (
	"fmt"
	"strings"

	"github.com/faultctl/faultctl/faults"
)

// String prints the ruleset as nft -f would read it.
func (rs *Ruleset) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n\tflags owner\n", rs.Table)
	for _, s := range rs.Sets {
		if s.Ends != nil {
			addr := "ipv4_addr"
			if s.Family == IPv6 {
				addr = "ipv6_addr"
			}
			fmt.Fprintf(&b, "\n\tset %s {\n\t\ttype %s . inet_service\n\t\telements = { %s }\n\t}\n", s.Name, addr, s.Elements())
			continue
		}
		fmt.Fprintf(&b, "\n\tset %s {\n\t\ttypeof %s\n\t\tsize %d\n", s.Name, key(s.Family, faults.Original), s.Holds())
		if s.Timeout != 0 {
			fmt.Fprintf(&b, "\t\tflags dynamic,timeout\n\t\ttimeout %s\n\t\tgc-interval %s\n", durationText(s.Timeout), durationText(GCInterval(s.Timeout)))
		} else {
			fmt.Fprintf(&b, "\t\tflags dynamic\n")
		}
		fmt.Fprintf(&b, "\t}\n")
	}
	for i := range rs.Chains {
		b.WriteString(rs.Chains[i].String())
	}
	b.WriteString("}\n")
	return b.String()
}

// Elements prints the service ends in a set.
func (s Set) Elements() string {
	words := make([]string, len(s.Ends))
	for i, e := range s.Ends {
		words[i] = fmt.Sprintf("%s . %d", e.Prefix.Addr(), e.LowPort)
	}
	return strings.Join(words, ",\n\t\t\t")
}

// String prints the chain as it stands in its table.
func (c *Chain) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n\tchain %s {\n", c.Name)
	if c.Hook != "" {
		fmt.Fprintf(&b, "\t\ttype filter hook %s priority %d; policy accept;\n", c.Hook, c.Priority)
	}
	for _, r := range c.Rules {
		words := make([]string, len(r))
		for i, s := range r {
			words[i] = s.nft()
		}
		fmt.Fprintf(&b, "\t\t%s\n", strings.Join(words, " "))
	}
	fmt.Fprintf(&b, "\t}\n")
	return b.String()
}
