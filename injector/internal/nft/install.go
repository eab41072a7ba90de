package nft

import (
	"fmt"
	"os"

	"github.com/faultctl/faultctl/injector/internal/exitwatch"
	"github.com/faultctl/faultctl/injector/internal/kerror"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/google/nftables"
)

// Install installs rs by the best means that the kernel has, and returns what those
// are. ns is the network namespace; nil means the caller's own. Segments with one of
// the signs are remembered behind all other rules, see Left. If the kernel lacks or
// denies what the rules need, the error is that of Probe.
//
// There is no probe before: the rules are installed as a whole or not at all, and a
// probe would cost as much as they do, because the kernel waits for all processors
// after each transaction. Only if that fails does Install find out what is missing.
func Install(ns *os.File, rs *ruleset.Ruleset, signs ...exitwatch.Sign) (*Table, Capabilities, error) {
	for _, nft := range []bool{true, false} {
		can := Capabilities{TableOwner: true, NFTQueue: nft, XTQueue: !nft, VerdictPriority: VerdictPriority()}
		if t, err := installAs(ns, rs, can, signs); err == nil {
			return t, can, nil
		}
	}
	can, err := Probe(ns)
	if err != nil {
		return nil, can, err
	}
	t, err := installAs(ns, rs, can, signs)
	return t, can, err
}

// installAs installs rs on a connection of its own.
func installAs(ns *os.File, rs *ruleset.Ruleset, can Capabilities, signs []exitwatch.Sign) (*Table, error) {
	t, err := Open(ns)
	if err != nil {
		return nil, err
	}
	t.nftQueue, t.owned = can.NFTQueue, can.TableOwner
	if err := t.apply(rs, signs...); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// apply installs rs in one batch: afterwards either all of it is there or nothing.
func (t *Table) apply(rs *ruleset.Ruleset, signs ...exitwatch.Sign) (err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.table = &nftables.Table{Name: rs.Table, Family: nftables.TableFamilyINet}
	if t.owned {
		t.table.Flags = nftables.TableFlagOwner
	}
	for _, only := range rs.Tables() {
		t.tables[only] = t.table
		if only != ruleset.EitherFamily {
			t.tables[only] = &nftables.Table{Name: rs.Table, Family: tableFamilies[only], Flags: t.table.Flags}
		}
		t.conn.CreateTable(t.tables[only])
	}
	for _, s := range rs.Sets {
		if err := t.addSet(s); err != nil {
			return err
		}
	}
	for i := range rs.Chains {
		t.addChain(&rs.Chains[i])
	}
	for i := range rs.Chains {
		t.fill(&rs.Chains[i])
	}
	if len(signs) > 0 {
		if t.left, err = exitwatch.Add(t.conn, t.table, signs...); err != nil {
			return err
		}
	}
	if err := t.conn.Flush(); err != nil {
		return fmt.Errorf("install table %s: %w", rs.Table, kerror.Explain(err))
	}
	return nil
}

// fill adds the rules of a chain that exists.
func (t *Table) fill(c *ruleset.Chain) {
	for _, r := range c.Rules {
		t.conn.AddRule(&nftables.Rule{Table: t.tables[c.Only], Chain: t.chains[c.Name], Exprs: r.Exprs(t.env())})
	}
}

func (t *Table) addSet(s ruleset.Set) error {
	ns := &nftables.Set{
		Table: t.tables[s.Only], Name: string(s.Name), KeyType: keyType(s.Family),
		Dynamic: true, HasTimeout: s.Timeout != 0, Timeout: s.Timeout, Size: s.Holds(),
	}
	elems := endKeys(s.Ends)
	switch {
	case s.Names:
		ns.IsMap, ns.DataType = true, endType(s.Family)
	case s.Ends != nil:
		ns = &nftables.Set{Table: ns.Table, Name: ns.Name, KeyType: endType(s.Family)}
	case s.Addrs != nil:
		ns = &nftables.Set{Table: ns.Table, Name: ns.Name, KeyType: addrType(s.Family)}
		for _, a := range s.Addrs {
			elems = append(elems, nftables.SetElement{Key: a.AsSlice()})
		}
	}
	if err := t.conn.AddSet(ns, elems); err != nil {
		return fmt.Errorf("add set %s: %w", s.Name, err)
	}
	t.sets[s.Name] = ns
	return nil
}

// endKeys returns service ends as elements of a set.
func endKeys(es []target.Endpoint) []nftables.SetElement {
	keys := make([]nftables.SetElement, len(es))
	for i, e := range es {
		keys[i].Key = endBytes(e.Prefix.Addr(), e.LowPort)
	}
	return keys
}

var tableFamilies = [...]nftables.TableFamily{
	ruleset.EitherFamily: nftables.TableFamilyINet, ruleset.OnlyIPv4: nftables.TableFamilyIPv4, ruleset.OnlyIPv6: nftables.TableFamilyIPv6,
}

var hooknums = map[ruleset.Hook]*nftables.ChainHook{
	ruleset.InputHook: nftables.ChainHookInput, ruleset.ForwardHook: nftables.ChainHookForward, ruleset.OutputHook: nftables.ChainHookOutput,
}

func (t *Table) addChain(c *ruleset.Chain) {
	nc := &nftables.Chain{Name: string(c.Name), Table: t.tables[c.Only]}
	if c.Hook != "" {
		accept := nftables.ChainPolicyAccept
		nc.Type, nc.Policy = nftables.ChainTypeFilter, &accept
		nc.Priority = nftables.ChainPriorityRef(nftables.ChainPriority(c.Priority))
		nc.Hooknum = hooknums[c.Hook]
	}
	t.chains[c.Name] = t.conn.AddChain(nc)
}

// env describes the kernel to the rules.
func (t *Table) env() *ruleset.Env {
	return &ruleset.Env{NFTQueue: t.nftQueue, Set: func(name ruleset.SetName) (string, uint32) {
		set := t.sets[name]
		return set.Name, set.ID
	}}
}

// endType returns the type of the keys in a set of service ends.
func endType(f ruleset.Family) nftables.SetDatatype {
	return nftables.MustConcatSetType(addrType(f), nftables.TypeInetService)
}

// keyType returns the type of the keys in a set of flows.
func keyType(f ruleset.Family) nftables.SetDatatype {
	addr := addrType(f)
	return nftables.MustConcatSetType(addr, nftables.TypeInetService, addr, nftables.TypeInetService)
}

func addrType(f ruleset.Family) nftables.SetDatatype {
	if f == ruleset.IPv6 {
		return nftables.TypeIP6Addr
	}
	return nftables.TypeIPAddr
}
