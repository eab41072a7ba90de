// Package nft installs, changes and removes a ruleset. It owns the netlink connections
// to nftables, and finds out what this kernel can do.
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
	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Table installs a ruleset and keeps it installed. Its netlink connection owns the
// table: when the connection closes, however the process ends, the kernel removes the
// table. So the connection stays open as long as the table is needed, and is closed in
// one place.
//
// Any goroutine may use it. Its calls may have to wait for another transaction: up to
// 130 ms was seen.
type Table struct {
	mu       sync.Mutex // guards conn
	conn     *nftables.Conn
	netlink  *netlink.Conn // beneath conn
	table    *nftables.Table
	tables   [3]*nftables.Table // table and its companions, by ruleset.Only
	sets     map[ruleset.SetName]*nftables.Set
	chains   map[ruleset.ChainName]*nftables.Chain
	left     *exitwatch.Watch // behind all other rules; nil: there is none
	nftQueue bool             // the kernel has nft's queue statement
	owned    bool             // the kernel removes the table with the connection
}

// nftBuffer has room for the largest batch: a target of a thousand ends.
const nftBuffer = 8 << 20

// Open connects to nftables in the namespace; nil means the caller's own. It installs
// nothing.
func Open(ns *os.File) (*Table, error) {
	t := &Table{sets: map[ruleset.SetName]*nftables.Set{}, chains: map[ruleset.ChainName]*nftables.Chain{}}
	opts := []nftables.ConnOption{nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		t.netlink = c
		// With an option for the socket, the library leaves the buffer size to us.
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

// fdSetSize is how many descriptors select(2) can handle (FD_SETSIZE).
const fdSetSize = 1024

// roomBelow returns an error if the next descriptor of this process is limit or more:
// google/nftables waits for its socket with select(2), and would panic. This concerns
// programs that use this package and have a thousand files open; they should start the
// injector first.
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

// TuneSets makes the kernel search the installed sets for expired elements less often
// than by default. Nothing depends on it: the rules are in force already.
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

// Update replaces the installed rules by those of another ruleset, in one batch: no
// packet ever meets half of them. Sets and chains are only ever added. A chain whose
// rules differ is filled again; the counters of the others go on.
func (t *Table) Update(from, to *ruleset.Ruleset) (err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.table == nil {
		return nil
	}
	sets, chains := t.sets, t.chains // a reader has the old sets, see Reads
	t.sets, t.chains = maps.Clone(sets), maps.Clone(chains)
	defer func() {
		if err != nil { // the kernel has none of the new sets
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

// Empty removes all flows from the named sets that exist.
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

// Remove removes the table.
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

// Close closes the connection, and thereby removes the table if it still exists.
func (t *Table) Close() error { return t.conn.CloseLasting() }
