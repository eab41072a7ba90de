package nft

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"github.com/faultctl/faultctl/injector/internal/kerror"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
	"github.com/faultctl/faultctl/internal/netns"
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
)

// NAT reports in which families, by ruleset.Family, rules of the namespace may translate
// addresses: those with a chain for it, of nftables or of iptables.
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
	for _, c := range chains {
		if c.Type != nftables.ChainTypeNAT {
			continue
		}
		f := c.Table.Family
		nat[ruleset.IPv4] = nat[ruleset.IPv4] || f == nftables.TableFamilyIPv4 || f == nftables.TableFamilyINet
		nat[ruleset.IPv6] = nat[ruleset.IPv6] || f == nftables.TableFamilyIPv6 || f == nftables.TableFamilyINet
	}
	err = netns.Do(ns, func() error { // of the older iptables, by the tables that are in use
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

// Name returns what the client of a connection calls its server, given both ends as
// packets have them where they are judged, and whether its own address is translated too,
// as far as a packet has told. It reports false if the server's is not translated.
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
