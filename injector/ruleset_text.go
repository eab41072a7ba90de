package injector

import (
	"fmt"
	"strings"
)

// String prints the ruleset as nft -f would read it.
func (rs *ruleset) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n\tflags owner\n", rs.table)
	for _, s := range rs.sets {
		if s.ends != nil {
			fmt.Fprintf(&b, "\n\tset %s {\n\t\ttype %s . inet_service\n\t\telements = { %s }\n\t}\n", s.name, map[bool]string{false: "ipv4_addr", true: "ipv6_addr"}[s.v6], s.elements())
			continue
		}
		fmt.Fprintf(&b, "\n\tset %s {\n\t\ttypeof %s\n\t\tsize %d\n", s.name, key(s.v6, false), s.holds())
		if s.timeout != 0 {
			fmt.Fprintf(&b, "\t\tflags dynamic,timeout\n\t\ttimeout %s\n\t\tgc-interval %s\n", nftDuration(s.timeout), nftDuration(gcInterval(s.timeout)))
		} else {
			fmt.Fprintf(&b, "\t\tflags dynamic\n")
		}
		fmt.Fprintf(&b, "\t}\n")
	}
	for i := range rs.chains {
		b.WriteString(rs.chains[i].String())
	}
	b.WriteString("}\n")
	return b.String()
}

// elements prints the service ends in a set.
func (s set) elements() string {
	words := make([]string, len(s.ends))
	for i, e := range s.ends {
		words[i] = fmt.Sprintf("%s . %d", e.Prefix.Addr(), e.LowPort)
	}
	return strings.Join(words, ",\n\t\t\t")
}

// String prints the chain as it stands in its table.
func (c *chain) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n\tchain %s {\n", c.name)
	if c.hook != "" {
		fmt.Fprintf(&b, "\t\ttype filter hook %s priority %d; policy accept;\n", c.hook, c.priority)
	}
	for _, r := range c.rules {
		words := make([]string, len(r))
		for i, s := range r {
			words[i] = s.nft()
		}
		fmt.Fprintf(&b, "\t\t%s\n", strings.Join(words, " "))
	}
	fmt.Fprintf(&b, "\t}\n")
	return b.String()
}
