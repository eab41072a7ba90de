// Package nft puts a ruleset into the kernel, changes it, and takes it out. It owns the
// netlink connections to nftables, and finds out what this kernel can do.
package nft

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"

	"github.com/faultctl/faultctl/injector/internal/exitwatch"
	"github.com/faultctl/faultctl/injector/internal/kerror"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Table puts a ruleset into the kernel and keeps it there. Its netlink
// connection owns the table: when the connection closes, by whatever end of
// the process, the kernel removes the table. So the connection is kept here
// for as long as the table is wanted, and closed in one place.
//
// Any goroutine may use it. Its calls may wait behind somebody else's transaction:
// 130 ms was seen.
type Table struct {
	mu       sync.Mutex // serialises the use of conn
	conn     *nftables.Conn
	netlink  *netlink.Conn // beneath conn
	table    *nftables.Table
	tables   [3]*nftables.Table // it, and those beside it, by ruleset.Only
	sets     map[ruleset.SetName]*nftables.Set
	chains   map[ruleset.ChainName]*nftables.Chain
	left     *exitwatch.Watch // behind all other rules; nil: nothing watches there
	nftQueue bool             // the kernel has nft's queue statement
	owned    bool             // the table dies with the connection
}

// nftBuffer holds the largest batch: a target of a thousand ends.
const nftBuffer = 8 << 20

// Open connects to nftables in the namespace, nil being the caller's
// own. It installs nothing.
func Open(ns *os.File) (*Table, error) {
	t := &Table{sets: map[ruleset.SetName]*nftables.Set{}, chains: map[ruleset.ChainName]*nftables.Chain{}}
	opts := []nftables.ConnOption{nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		t.netlink = c
		// With a hand of ours on the socket the library leaves its size to us.
		return errors.Join(c.SetReadBuffer(nftBuffer), c.SetWriteBuffer(nftBuffer))
	})}
	if ns != nil {
		opts = append(opts, nftables.WithNetNSFd(int(ns.Fd())))
	}
	if err := roomBelow(fdSetSize); err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	conn, err := nftables.New(opts...)
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", kerror.Explain(err))
	}
	t.conn = conn
	return t, nil
}

// fdSetSize is how many descriptors select(2) takes (FD_SETSIZE).
const fdSetSize = 1024

// roomBelow reports an error if the next descriptor of this process is limit or
// more: google/nftables waits for its socket with select(2) and would panic. It
// concerns programs that use this package and have a thousand files open; they
// should open the injector first.
func roomBelow(limit int) error {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC) // it needs no file: there may be no /dev
	if err != nil {
		return fmt.Errorf("open a descriptor: %w", err)
	}
	unix.Close(fd)
	if fd >= limit {
		return fmt.Errorf("this process has more than %d files open, and one of the first %d must be free", limit, limit)
	}
	return nil
}

// Install puts rs in, by the best that the kernel can do, and says what that is. ns is
// the network namespace, nil being the caller's own. Segments with one of the signs are
// remembered behind all other rules, see Left. The error is that of Probe if the kernel
// lacks or denies what rules need.
//
// The rules themselves try it: they are in or not as a whole, and a probe before
// them would cost as much as they do, since the kernel waits for all processors
// after each. Only if they fail is it found out what lacks.
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

// installAs puts rs in on a connection of its own.
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

// apply installs rs in one batch: either all of it is there afterwards, or
// nothing.
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

// TuneSets has the kernel look through the sets of what is applied less often
// than it would. Nothing depends on it: the rules are in force before.
func (t *Table) TuneSets(rs *ruleset.Ruleset) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.table == nil {
		return nil
	}
	var sets []*nftables.Set
	for _, s := range rs.Sets {
		if s.Timeout != 0 && s.Only == ruleset.EitherFamily {
			sets = append(sets, t.sets[s.Name])
		}
	}
	return kerror.Explain(t.setGCIntervals(sets, ruleset.GCInterval))
}

// fill adds the rules of a chain that is there.
func (t *Table) fill(c *ruleset.Chain) {
	for _, r := range c.Rules {
		t.conn.AddRule(&nftables.Rule{Table: t.tables[c.Only], Chain: t.chains[c.Name], Exprs: r.Exprs(t.env())})
	}
}

// Update makes the rules of another ruleset out of those that are in, in one
// batch: no packet meets half of it. Sets and chains are only ever added; a
// chain whose rules are others is filled anew, the counters of the rest go on.
func (t *Table) Update(from, to *ruleset.Ruleset) (err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.table == nil {
		return nil
	}
	sets, chains := t.sets, t.chains // a reader beside has the sets there were, see reads
	t.sets, t.chains = maps.Clone(sets), maps.Clone(chains)
	defer func() {
		if err != nil { // the kernel has none of the new ones
			t.sets, t.chains = sets, chains
		}
	}()
	had := map[ruleset.SetName]string{}
	for _, s := range from.Sets {
		had[s.Name] = s.Elements()
	}
	for _, s := range to.Sets {
		was, is := had[s.Name]
		switch {
		case t.sets[s.Name] == nil:
			err = t.addSet(s)
		case s.Ends != nil && (!is || was != s.Elements()):
			t.conn.FlushSet(t.sets[s.Name])
			err = t.conn.SetAddElements(t.sets[s.Name], endKeys(s.Ends))
		}
		if err != nil {
			return err
		}
	}
	was := map[ruleset.ChainName]string{}
	for i := range from.Chains {
		was[from.Chains[i].Name] = from.Chains[i].String()
	}
	var changed []*ruleset.Chain
	for i := range to.Chains {
		c := &to.Chains[i]
		switch {
		case t.chains[c.Name] == nil:
			t.addChain(c)
		case was[c.Name] == c.String():
			continue
		default:
			t.conn.FlushChain(t.chains[c.Name])
		}
		changed = append(changed, c)
	}
	for _, c := range changed {
		t.fill(c)
	}
	if err := t.conn.Flush(); err != nil {
		return fmt.Errorf("change table %s: %w", t.table.Name, kerror.Explain(err))
	}
	return nil
}

// Reads makes a read the table that b keeps, beside it.
func (t *Table) Reads(b *Table) {
	b.mu.Lock()
	table, sets, left := b.table, b.sets, b.left
	b.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.table, t.sets, t.left = table, sets, left
}

// ErrNotWatched says that nothing watches behind the other rules.
var ErrNotWatched = errors.New("nothing watches what leaves this host")

// Left reports whether a segment of one of Install's signs with these numbers got through
// all rules of this host within the last minute. It takes 20 µs, more while somebody
// changes rules.
func (t *Table) Left(seq, ack uint32) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.left == nil || t.table == nil {
		return false, ErrNotWatched
	}
	_, left, err := t.left.Left(t.conn, seq, ack)
	return left, err
}

// Empty takes every flow out of the named sets that are there.
func (t *Table) Empty(names ...ruleset.SetName) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.table == nil {
		return nil
	}
	for _, name := range names {
		if s := t.sets[name]; s != nil {
			t.conn.FlushSet(s)
		}
	}
	if err := t.conn.Flush(); err != nil {
		return fmt.Errorf("empty sets of table %s: %w", t.table.Name, kerror.Explain(err))
	}
	return nil
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

// endKeys are service ends as elements of a set.
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

// env is the kernel that the table is in, as rules need to know it.
func (t *Table) env() *ruleset.Env {
	return &ruleset.Env{NFTQueue: t.nftQueue, Set: func(name ruleset.SetName) (string, uint32) {
		set := t.sets[name]
		return set.Name, set.ID
	}}
}

// Remove takes the table out.
func (t *Table) Remove() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.table == nil {
		return nil
	}
	for _, table := range t.tables {
		if table != nil {
			t.conn.DelTable(table)
		}
	}
	if err := t.conn.Flush(); err != nil {
		return fmt.Errorf("remove table %s: %w", t.table.Name, kerror.Explain(err))
	}
	t.table = nil
	return nil
}

// Counts reads the rules' counters: how many packets were queued, let pass
// because the queue was full included, and how often a flow found no room in
// the sets of a kind. rs is what is in.
func (t *Table) Counts(rs *ruleset.Ruleset) (queued uint64, full map[ruleset.SetKind]uint64, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	full = map[ruleset.SetKind]uint64{}
	for _, c := range rs.Chains {
		if c.Hook != "" || c.Only != ruleset.EitherFamily {
			continue
		}
		rules, err := t.conn.GetRules(t.table, t.chains[c.Name])
		if err != nil {
			return 0, nil, fmt.Errorf("read counters of chain %s: %w", c.Name, err)
		}
		for i, r := range c.Rules {
			if i >= len(rules) {
				break
			}
			n := packets(rules[i])
			if r.Queues() {
				queued += n
			} else if set := r.FullSet(); set != ruleset.NoSet {
				full[set] += n
			}
		}
	}
	return queued, full, nil
}

// packets is how many packets the counter of a rule has seen.
func packets(r *nftables.Rule) uint64 {
	for _, e := range r.Exprs {
		if c, ok := e.(*expr.Counter); ok {
			return c.Packets
		}
	}
	return 0
}

// Close ends the connection, and with it the table if it is still there.
func (t *Table) Close() error { return t.conn.CloseLasting() }

// endType is the type of the key of a set of service ends.
func endType(f ruleset.Family) nftables.SetDatatype {
	return nftables.MustConcatSetType(addrType(f), nftables.TypeInetService)
}

// keyType is the type of the key of a set of flows.
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
