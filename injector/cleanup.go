package injector

import (
	"fmt"
	"os"
	"regexp"

	"github.com/google/nftables"
)

var ourTable = regexp.MustCompile(`^` + tablePrefix + `([0-9]+)(_[0-9]+)?(_probe)?$`)

// Cleanup removes the tables that instances which are no longer alive left in
// the caller's network namespace, and returns their names. Only kernels that
// do not let a table die with its owner (before Linux 5.12) leave any.
func Cleanup() ([]string, error) {
	a, err := openNftables(nil)
	if err != nil {
		return nil, err
	}
	defer a.close()
	tables, err := a.conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", explain(err))
	}
	var removed []string
	for _, t := range tables {
		m := ourTable.FindStringSubmatch(t.Name)
		if m == nil || t.Flags&nftables.TableFlagOwner != 0 || alive(m[1]) {
			continue
		}
		a.conn.DelTable(t)
		if err := a.conn.Flush(); err != nil {
			return removed, fmt.Errorf("remove table %s: %w", t.Name, explain(err))
		}
		removed = append(removed, t.Name)
	}
	return removed, nil
}

// alive reports whether a process of that number exists.
func alive(pid string) bool {
	_, err := os.Stat("/proc/" + pid)
	return err == nil
}
