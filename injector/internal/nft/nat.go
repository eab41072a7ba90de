package nft

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/faultctl/faultctl/injector/internal/kerror"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
	"github.com/faultctl/faultctl/internal/netns"
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
)

// NAT reports in which families, by ruleset.Family, rules of the namespace may
// translate addresses: those that have a rule for it, of nftables or of iptables. A
// chain alone does not even make conntrack track.
func NAT(ns *os.File) (nat [2]bool, err error) {
	t, err := Open(ns)
	if err != nil {
		return nat, err
	}
	defer t.Close()
	chains, err := t.conn.ListChains()
	if err != nil {
		return nat, fmt.Errorf("list chains: %w", kerror.Explain(err))
	}
	type table struct {
		family nftables.TableFamily
		name   string
	}
	for _, c := range chains {
		if c.Type != nftables.ChainTypeNAT {
			continue
		}
		of := table{c.Table.Family, c.Table.Name}
		if of.family == nftables.TableFamilyIPv4 && nat[ruleset.IPv4] || of.family == nftables.TableFamilyIPv6 && nat[ruleset.IPv6] {
			continue
		}
		for _, any := range chains { // its rules may be in a chain that it jumps to
			if of != (table{any.Table.Family, any.Table.Name}) {
				continue
			}
			rules, err := t.conn.GetRules(any.Table, any)
			if err != nil {
				return nat, fmt.Errorf("list rules: %w", kerror.Explain(err))
			}
			if slices.ContainsFunc(rules, translates) {
				nat[ruleset.IPv4] = nat[ruleset.IPv4] || of.family != nftables.TableFamilyIPv6
				nat[ruleset.IPv6] = nat[ruleset.IPv6] || of.family != nftables.TableFamilyIPv4
				break
			}
		}
	}
	err = netns.Do(ns, func() error { // the older iptables shows only which tables are in use
		for f, file := range [...]string{ruleset.IPv4: "ip_tables_names", ruleset.IPv6: "ip6_tables_names"} {
			names, err := os.ReadFile("/proc/thread-self/net/" + file)
			if err == nil && strings.Contains("\n"+string(names), "\nnat\n") {
				nat[f] = true
			}
		}
		return nil
	})
	return nat, err
}

// translates reports whether a rule of a NAT table may translate: by an expression for
// it, or by any target of iptables.
func translates(r *nftables.Rule) bool {
	return slices.ContainsFunc(r.Exprs, func(e expr.Any) bool {
		switch e.(type) {
		case *expr.NAT, *expr.Masq, *expr.Redir, *expr.Target:
			return true
		}
		return false
	})
}

// Name returns the address by which the client of a connection knows its server, and
// whether the client's own address is translated too, as far as packets have shown.
// client and server are the ends that packets have where they are judged. ok is false
// if the server's address is not translated.
func (t *Table) Name(client, server netip.AddrPort) (name netip.AddrPort, sourced, ok bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := ruleset.FamilyOf(client.Addr())
	s := t.sets[ruleset.NamesOf(f)]
	if s == nil || t.table == nil {
		return name, false, false, nil
	}
	key := []nftables.SetElement{{Key: flowBytes(client, server)}}
	found, err := t.conn.FindSetElements(s, key)
	switch {
	case errors.Is(err, syscall.ENOENT) || err == nil && len(found) == 0:
		return name, false, false, nil
	case err != nil:
		return name, false, false, fmt.Errorf("look for a name in map %s: %w", s.Name, err)
	}
	size, val := client.Addr().BitLen()/8, found[0].Val
	if len(val) < size+2 {
		return name, false, false, fmt.Errorf("look for a name in map %s: %d bytes of data", s.Name, len(val))
	}
	a, _ := netip.AddrFromSlice(val[:size])
	name = netip.AddrPortFrom(a, binaryutil.BigEndian.Uint16(val[size:size+2]))
	found, err = t.conn.FindSetElements(t.sets[ruleset.SourcedOf(f)], key)
	return name, err == nil && len(found) > 0, true, nil
}
