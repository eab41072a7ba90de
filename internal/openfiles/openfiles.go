// Package openfiles ends a process, in words, that may open too few files: Go's
// runtime ends with a fatal error then, in some package's init before main begins. For
// main alone to import. It is initialized before packages that open files: Go
// initializes packages in the order of their paths as soon as what they import is, and
// this one imports next to nothing.
package openfiles

import (
	"strconv"
	"syscall"
)

// Fewest is how many files a process of faultctl has to be able to open: a run with a
// queue, a capture and a control socket opens about twenty.
const Fewest = 32

// exitPreflight is the exit code for something that is missing.
const exitPreflight = 5

func init() {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil || l.Cur >= Fewest {
		return
	}
	syscall.Write(2, []byte("faultctl: this process may open "+strconv.FormatUint(l.Cur, 10)+" files, and needs "+strconv.Itoa(Fewest)+
		"\n  Raise the limit: ulimit -n 1024, or LimitNOFILE= of a unit.\n"))
	syscall.Exit(exitPreflight)
}
