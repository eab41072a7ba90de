package nft

import (
	"fmt"
	"os"
	"regexp"
	"sync/atomic"

	"github.com/faultctl/faultctl/injector/internal/kerror"
	"github.com/google/nftables"
)

// tablePrefix starts the name of every table of ours; the process follows.
const tablePrefix = "faultctl_"

var ourTable = regexp.MustCompile(`^` + tablePrefix + `([0-9]+)(_[0-9]+)?(_probe)?$`)

// tables counts the tables that this process made, so that two of them in one process
// have two names; probes counts those made only to try something.
var tables, probes atomic.Uint32

// FirstName is the name of the first table that this process makes.
func FirstName() string { return tableName(os.Getpid(), 0) }

// NextName is a name for one more table of this process.
func NextName() string { return tableName(os.Getpid(), tables.Add(1)-1) }

func tableName(pid int, n uint32) string {
	if n == 0 {
		return fmt.Sprintf("%s%d", tablePrefix, pid)
	}
	return fmt.Sprintf("%s%d_%d", tablePrefix, pid, n)
}

// Cleanup removes the tables that instances which are no longer alive left in
// the caller's network namespace, and returns their names. Only kernels that
// do not let a table die with its owner (before Linux 5.12) leave any.
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
		if m == nil || left.Flags&nftables.TableFlagOwner != 0 || alive(m[1]) {
			continue
		}
		t.conn.DelTable(left)
		if left.Family != nftables.TableFamilyINet { // it goes with the one of its name
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

// alive reports whether a process of that number exists.
func alive(pid string) bool {
	_, err := os.Stat("/proc/" + pid)
	return err == nil
}
