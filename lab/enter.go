package lab

import "github.com/faultctl/faultctl/lab/userns"

// MustEnter reports whether this process may not build a lab, and [Enter] is the
// way to one that may: it is neither root nor inside already.
func MustEnter() bool { return userns.MustEnter() }

// Main runs tests where they may build a lab, and returns the exit code: here,
// or in namespaces of their own.
func Main(run func() int) int { return userns.Main(run) }

// Enter runs this program again in a user and network namespace of its own, see
// [userns.Enter].
func Enter() (code int, err error) { return userns.Enter() }
