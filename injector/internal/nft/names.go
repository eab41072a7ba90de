package nft

import (
	"fmt"
	"regexp"
	"sync/atomic"

	"github.com/faultctl/faultctl/internal/procid"
)

// tablePrefix starts the name of every table of ours; the process follows.
const tablePrefix = "faultctl_"

// ourTable matches the names that tableName makes.
var ourTable = regexp.MustCompile(`^` + tablePrefix + `(` + procid.Pattern + `)(_[0-9]+)?(_probe)?$`)

// tables counts the tables that this process made, so that two of them in one process
// have two names; probes counts those made only to try something.
var tables, probes atomic.Uint32

// FirstName is the name of the first table that this process makes.
func FirstName() string { return tableName(procid.Self(), 0) }

// NextName is a name for one more table of this process.
func NextName() string { return tableName(procid.Self(), tables.Add(1)-1) }

// tableName names the nth table of a process, whose name comes from procid: processes
// of two containers in one network namespace may both be number 1.
func tableName(process string, n uint32) string {
	if n == 0 {
		return tablePrefix + process
	}
	return fmt.Sprintf("%s%s_%d", tablePrefix, process, n)
}
