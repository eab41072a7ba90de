package ruleset

import (
	"fmt"
	"slices"
	"strings"

	"github.com/faultctl/faultctl/faults"
)

// String returns the ruleset as nft -f reads it.
func (rs *Ruleset) String() string { return rs.With("") }

// With is String with more text at the end of the table for both families.
func (rs *Ruleset) With(more string) string {
	var b strings.Builder
	for _, only := range rs.Tables() {
		fmt.Fprintf(&b, "table %s %s {\n\tflags owner\n", only, rs.Table)
		for _, s := range rs.Sets {
			if s.Only == only {
				b.WriteString(s.text())
			}
		}
		for i := range rs.Chains {
			if rs.Chains[i].Only == only {
				b.WriteString(rs.Chains[i].String())
			}
		}
		if only == EitherFamily {
			b.WriteString(more)
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// Tables returns the tables that the ruleset has, all with the same name.
func (rs *Ruleset) Tables() []Only {
	tables := []Only{EitherFamily}
	for _, s := range rs.Sets {
		if !slices.Contains(tables, s.Only) {
			tables = append(tables, s.Only)
		}
	}
	return tables
}

func (s Set) text() string {
	addr := "ipv4_addr"
	if s.Family == IPv6 {
		addr = "ipv6_addr"
	}
	switch {
	case s.Addrs != nil:
		return fmt.Sprintf("\n\tset %s {\n\t\ttype %s\n\t\telements = { %s }\n\t}\n", s.Name, addr, s.Elements())
	case s.Ends != nil:
		return fmt.Sprintf("\n\tset %s {\n\t\ttype %s . inet_service\n\t\telements = { %s }\n\t}\n", s.Name, addr, s.Elements())
	}
	var b strings.Builder
	what, value := "set", ""
	if s.Names {
		what, value = "map", " : "+asked(s.Family)
	}
	fmt.Fprintf(&b, "\n\t%s %s {\n\t\ttypeof %s%s\n\t\tsize %d\n", what, s.Name, key(s.Family, faults.Original), value, s.Holds())
	if s.Timeout != 0 {
		fmt.Fprintf(&b, "\t\tflags dynamic,timeout\n\t\ttimeout %s\n\t\tgc-interval %s\n", durationText(s.Timeout), durationText(GCInterval(s.Timeout)))
	} else {
		fmt.Fprintf(&b, "\t\tflags dynamic\n")
	}
	fmt.Fprintf(&b, "\t}\n")
	return b.String()
}

// Elements returns the service ends, or the addresses, in a set.
func (s Set) Elements() string {
	if s.Addrs != nil {
		words := make([]string, len(s.Addrs))
		for i, a := range s.Addrs {
			words[i] = a.String()
		}
		return strings.Join(words, ", ")
	}
	words := make([]string, len(s.Ends))
	for i, e := range s.Ends {
		words[i] = fmt.Sprintf("%s . %d", e.Prefix.Addr(), e.LowPort)
	}
	return strings.Join(words, ",\n\t\t\t")
}

// String returns the chain as it appears in its table.
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
