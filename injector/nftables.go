package injector

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"

	"github.com/faultctl/faultctl/injector/target"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// applier puts a ruleset into the kernel and keeps it there. Its netlink
// connection owns the table: when the connection closes, by whatever end of
// the process, the kernel removes the table. So the connection is kept here
// for as long as the table is wanted, and closed in one place.
type applier struct {
	mu       sync.Mutex // serialises the use of conn
	conn     *nftables.Conn
	netlink  *netlink.Conn // beneath conn
	table    *nftables.Table
	sets     map[string]*nftables.Set
	chains   map[string]*nftables.Chain
	nftQueue bool // the kernel has nft's queue statement
	owned    bool // the table dies with the connection
}

// nftBuffer holds the largest batch: a target of a thousand ends.
const nftBuffer = 8 << 20

// openNftables connects to nftables in the namespace, nil being the caller's
// own. It installs nothing.
func openNftables(netns *os.File) (*applier, error) {
	a := &applier{sets: map[string]*nftables.Set{}, chains: map[string]*nftables.Chain{}}
	opts := []nftables.ConnOption{nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		a.netlink = c
		// With a hand of ours on the socket the library leaves its size to us.
		return errors.Join(c.SetReadBuffer(nftBuffer), c.SetWriteBuffer(nftBuffer))
	})}
	if netns != nil {
		opts = append(opts, nftables.WithNetNSFd(int(netns.Fd())))
	}
	if err := roomBelow(fdSetSize); err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	conn, err := nftables.New(opts...)
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", explain(err))
	}
	a.conn = conn
	return a, nil
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

// install puts rs in, by the best that the kernel can do, and says what that is.
// The rules themselves try it: they are in or not as a whole, and a probe before
// them would cost as much as they do, since the kernel waits for all processors
// after each. Only if they fail is it found out what lacks.
func install(netns *os.File, rs *ruleset) (*applier, capabilities, error) {
	for _, nft := range []bool{true, false} {
		can := capabilities{tableOwner: true, nftQueue: nft, xtQueue: !nft, verdictPriority: verdictPriority()}
		if a, err := installAs(netns, rs, can); err == nil {
			return a, can, nil
		}
	}
	can, err := probeKernel(netns)
	if err != nil {
		return nil, can, err
	}
	a, err := installAs(netns, rs, can)
	return a, can, err
}

// installAs puts rs in on a connection of its own.
func installAs(netns *os.File, rs *ruleset, can capabilities) (*applier, error) {
	a, err := openNftables(netns)
	if err != nil {
		return nil, err
	}
	a.nftQueue, a.owned = can.nftQueue, can.tableOwner
	if err := a.apply(rs); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

// apply installs rs in one batch: either all of it is there afterwards, or
// nothing.
func (a *applier) apply(rs *ruleset) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.table = &nftables.Table{Name: rs.table, Family: nftables.TableFamilyINet}
	if a.owned {
		a.table.Flags = nftables.TableFlagOwner
	}
	a.conn.CreateTable(a.table)
	for _, s := range rs.sets {
		if err := a.addSet(s); err != nil {
			return err
		}
	}
	for i := range rs.chains {
		a.addChain(&rs.chains[i])
	}
	for i := range rs.chains {
		a.fill(&rs.chains[i])
	}
	if err := a.conn.Flush(); err != nil {
		return fmt.Errorf("install table %s: %w", rs.table, explain(err))
	}
	return nil
}

// tuneSets has the kernel look through the sets of what is applied less often
// than it would. Nothing depends on it: the rules are in force before.
func (a *applier) tuneSets(rs *ruleset) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.table == nil {
		return nil
	}
	var sets []*nftables.Set
	for _, s := range rs.sets {
		if s.timeout != 0 {
			sets = append(sets, a.sets[s.name])
		}
	}
	return explain(a.setGCIntervals(sets, gcInterval))
}

// fill adds the rules of a chain that is there.
func (a *applier) fill(c *chain) {
	for _, r := range c.rules {
		a.conn.AddRule(&nftables.Rule{Table: a.table, Chain: a.chains[c.name], Exprs: a.exprs(r)})
	}
}

// update makes the rules of another ruleset out of those that are in, in one
// batch: no packet meets half of it. Sets and chains are only ever added; a
// chain whose rules are others is filled anew, the counters of the rest go on.
func (a *applier) update(from, to *ruleset) (err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.table == nil {
		return nil
	}
	sets, chains := a.sets, a.chains // a reader beside has the sets there were, see reads
	a.sets, a.chains = maps.Clone(sets), maps.Clone(chains)
	defer func() {
		if err != nil { // the kernel has none of the new ones
			a.sets, a.chains = sets, chains
		}
	}()
	had := map[string]string{}
	for _, s := range from.sets {
		had[s.name] = s.elements()
	}
	for _, s := range to.sets {
		was, is := had[s.name]
		switch {
		case a.sets[s.name] == nil:
			err = a.addSet(s)
		case s.ends != nil && (!is || was != s.elements()):
			a.conn.FlushSet(a.sets[s.name])
			err = a.conn.SetAddElements(a.sets[s.name], endKeys(s.ends))
		}
		if err != nil {
			return err
		}
	}
	was := map[string]string{}
	for i := range from.chains {
		was[from.chains[i].name] = from.chains[i].String()
	}
	var changed []*chain
	for i := range to.chains {
		c := &to.chains[i]
		switch {
		case a.chains[c.name] == nil:
			a.addChain(c)
		case was[c.name] == c.String():
			continue
		default:
			a.conn.FlushChain(a.chains[c.name])
		}
		changed = append(changed, c)
	}
	for _, c := range changed {
		a.fill(c)
	}
	if err := a.conn.Flush(); err != nil {
		return fmt.Errorf("change table %s: %w", a.table.Name, explain(err))
	}
	return nil
}

// reads makes a read the table that b keeps, beside it.
func (a *applier) reads(b *applier) {
	b.mu.Lock()
	table, sets := b.table, b.sets
	b.mu.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.table, a.sets = table, sets
}

// empty takes every flow out of the named sets that are there.
func (a *applier) empty(names ...string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.table == nil {
		return nil
	}
	for _, name := range names {
		if s := a.sets[name]; s != nil {
			a.conn.FlushSet(s)
		}
	}
	if err := a.conn.Flush(); err != nil {
		return fmt.Errorf("empty sets of table %s: %w", a.table.Name, explain(err))
	}
	return nil
}

func (a *applier) addSet(s set) error {
	ns := &nftables.Set{
		Table: a.table, Name: s.name, KeyType: keyType(s.v6),
		Dynamic: true, HasTimeout: s.timeout != 0, Timeout: s.timeout, Size: s.holds(),
	}
	if s.ends != nil {
		ns = &nftables.Set{Table: a.table, Name: s.name, KeyType: endType(s.v6)}
	}
	if err := a.conn.AddSet(ns, endKeys(s.ends)); err != nil {
		return fmt.Errorf("add set %s: %w", s.name, err)
	}
	a.sets[s.name] = ns
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

func (a *applier) addChain(c *chain) {
	nc := &nftables.Chain{Name: c.name, Table: a.table}
	if c.hook != "" {
		accept := nftables.ChainPolicyAccept
		nc.Type, nc.Policy = nftables.ChainTypeFilter, &accept
		nc.Priority = nftables.ChainPriorityRef(nftables.ChainPriority(c.priority))
		nc.Hooknum = map[string]*nftables.ChainHook{
			"input": nftables.ChainHookInput, "forward": nftables.ChainHookForward, "output": nftables.ChainHookOutput,
		}[c.hook]
	}
	a.chains[c.name] = a.conn.AddChain(nc)
}

func (a *applier) exprs(r rule) []expr.Any {
	var es []expr.Any
	for _, s := range r {
		es = append(es, s.exprs(a)...)
	}
	return es
}

// disarm empties the chains that divert, so that no further packet is queued, but
// for what verdicts that are under way have to say. It leaves the table itself:
// taking a base chain out makes the kernel drop what sits in the queues of the
// namespace (nf_queue_nf_hook_drop), and those packets are to go on.
func (a *applier) disarm() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.table == nil {
		return nil
	}
	for _, name := range []string{"judge_input", "judge_forward", "judge_output"} {
		a.conn.FlushChain(a.chains[name])
		a.fill(&chain{name: name, rules: []rule{{priorityHas(sigAll), verdict("goto later")}}})
	}
	if err := a.conn.Flush(); err != nil {
		return fmt.Errorf("disarm table %s: %w", a.table.Name, explain(err))
	}
	return nil
}

// remove takes the table out.
func (a *applier) remove() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.table == nil {
		return nil
	}
	a.conn.DelTable(a.table)
	if err := a.conn.Flush(); err != nil {
		return fmt.Errorf("remove table %s: %w", a.table.Name, explain(err))
	}
	a.table = nil
	return nil
}

// counts reads the rules' counters: how many packets were queued, let pass
// because the queue was full included, and how often a flow found no room in
// the sets of a name. rs is what was applied.
func (a *applier) counts(rs *ruleset) (queued uint64, full map[string]uint64, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	full = map[string]uint64{}
	for _, c := range rs.chains {
		if c.hook != "" {
			continue
		}
		rules, err := a.conn.GetRules(a.table, a.chains[c.name])
		if err != nil {
			return 0, nil, fmt.Errorf("read counters of chain %s: %w", c.name, err)
		}
		for i, r := range c.rules {
			if i >= len(rules) {
				break
			}
			n := packets(rules[i])
			switch last := r[len(r)-1].(type) {
			case count:
				full[last.full] += n
			case enqueue:
				queued += n
			}
		}
	}
	return queued, full, nil
}

func packets(r *nftables.Rule) uint64 {
	for _, e := range r.Exprs {
		if c, ok := e.(*expr.Counter); ok {
			return c.Packets
		}
	}
	return 0
}

// close ends the connection, and with it the table if it is still there.
func (a *applier) close() error { return a.conn.CloseLasting() }
