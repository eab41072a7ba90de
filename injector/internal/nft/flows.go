package nft

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"github.com/faultctl/faultctl/injector/internal/ruleset"
	"github.com/google/nftables"
)

// Flows in the sets of the table, seen and changed from user space.

// SetFlow changes a flow in a set of the table from user space. It does nothing if the
// table has no such set, or if a flow that is to be deleted is not there. The error
// wraps ENFILE if the set is full. It may have to wait for another transaction, so the
// packet path leaves it to another goroutine.
func (t *Table) SetFlow(op ruleset.SetOp, set ruleset.SetName, client, server netip.AddrPort) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.sets[set]
	if s == nil || t.table == nil {
		return nil
	}
	elems := []nftables.SetElement{{Key: flowBytes(client, server)}}
	var err error
	if op == ruleset.Delete {
		err = t.conn.SetDeleteElements(s, elems)
	} else {
		err = t.conn.SetAddElements(s, elems)
	}
	if err == nil {
		err = t.conn.Flush()
	}
	if op == ruleset.Delete && errors.Is(err, syscall.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s flow in set %s: %w", op, set, err)
	}
	return nil
}

// Remaining returns for how much longer a flow stays in a set with a timeout, and false
// if the flow is not in it.
func (t *Table) Remaining(set ruleset.SetName, client, server netip.AddrPort) (left time.Duration, there bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.sets[set]
	if s == nil || t.table == nil {
		return 0, false, nil
	}
	found, err := t.conn.FindSetElements(s, []nftables.SetElement{{Key: flowBytes(client, server)}})
	switch {
	case errors.Is(err, syscall.ENOENT) || err == nil && len(found) == 0:
		return 0, false, nil
	case err != nil:
		return 0, false, fmt.Errorf("look up flow in set %s: %w", set, err)
	}
	return found[0].Expires, true, nil
}

// flowBytes returns the flow as a key of its set.
func flowBytes(client, server netip.AddrPort) []byte {
	var b []byte
	for _, e := range []netip.AddrPort{client, server} {
		b = append(b, endBytes(e.Addr(), e.Port())...)
	}
	return b
}

// endBytes returns one end as registers contain it.
func endBytes(addr netip.Addr, port uint16) []byte {
	return append(addr.AsSlice(), byte(port>>8), byte(port), 0, 0)
}
