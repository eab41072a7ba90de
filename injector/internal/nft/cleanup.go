package nft

import (
	"fmt"

	"github.com/faultctl/faultctl/injector/internal/kerror"
	"github.com/faultctl/faultctl/internal/procid"
	"github.com/google/nftables"
)

// Cleanup removes the tables that dead instances left in the caller's network
// namespace, and returns their names. They exist only on kernels that do not remove a
// table with its owner (before Linux 5.12).
func Cleanup() ([]string, error) {
	t, err := Open(nil)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	tables, err := t.conn.ListTables()
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", kerror.Explain(err))
	}
	var removed []string
	for _, left := range tables {
		m := ourTable.FindStringSubmatch(left.Name)
		if m == nil || left.Flags&nftables.TableFlagOwner != 0 || procid.Alive(m[1]) {
			continue
		}
		t.conn.DelTable(left)
		if left.Family != nftables.TableFamilyINet { // it is removed with the table of the same name
			if err := t.conn.Flush(); err != nil {
				return removed, fmt.Errorf("remove table %s: %w", left.Name, kerror.Explain(err))
			}
			continue
		}
		if err := t.conn.Flush(); err != nil {
			return removed, fmt.Errorf("remove table %s: %w", left.Name, kerror.Explain(err))
		}
		removed = append(removed, left.Name)
	}
	return removed, nil
}
