package injector

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"github.com/google/nftables"
)

// Flows in the sets of the table, seen and changed from user space.

// setFlow adds a flow to a set of the table, or deletes it, from user space.
// It may wait behind somebody else's transaction (130 ms was seen), so the
// packet path leaves it to the setWriter.
func (a *applier) setFlow(op, set string, client, server netip.AddrPort) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.sets[set]
	if s == nil || a.table == nil {
		return nil
	}
	elems := []nftables.SetElement{{Key: flowBytes(client, server)}}
	var err error
	if op == "delete" {
		err = a.conn.SetDeleteElements(s, elems)
	} else {
		err = a.conn.SetAddElements(s, elems)
	}
	if err == nil {
		err = a.conn.Flush()
	}
	if op == "delete" && errors.Is(err, syscall.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s flow in set %s: %w", op, set, err)
	}
	return nil
}

// remaining asks how much longer a flow stays in a set with a timeout. It
// reports false if the flow is not in it.
func (a *applier) remaining(set string, client, server netip.AddrPort) (left time.Duration, there bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.sets[set]
	if s == nil || a.table == nil {
		return 0, false, nil
	}
	found, err := a.conn.FindSetElements(s, []nftables.SetElement{{Key: flowBytes(client, server)}})
	switch {
	case errors.Is(err, syscall.ENOENT) || err == nil && len(found) == 0:
		return 0, false, nil
	case err != nil:
		return 0, false, fmt.Errorf("look up flow in set %s: %w", set, err)
	}
	return found[0].Expires, true, nil
}

// flowBytes is the flow as a key of its set.
func flowBytes(client, server netip.AddrPort) []byte {
	var b []byte
	for _, e := range []netip.AddrPort{client, server} {
		b = append(b, endBytes(e.Addr(), e.Port())...)
	}
	return b
}

// endBytes is one end as registers hold it.
func endBytes(addr netip.Addr, port uint16) []byte {
	return append(addr.AsSlice(), byte(port>>8), byte(port), 0, 0)
}
