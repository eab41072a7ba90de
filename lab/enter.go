package lab

import "github.com/faultctl/faultctl/lab/userns"

// MustEnter reports whether this process lacks the privileges to build a lab, and
// can get them with [Enter]: it is not root, and it is not inside already.
func MustEnter() bool { return userns.MustEnter() }

// Main calls run where it may build a lab, and returns the exit code: in this
// process, or in one that [Enter] starts.
func Main(run func() int) int { return userns.Main(run) }

// Enter runs this program again in a new user and network namespace, see
// [userns.Enter].
func Enter() (code int, err error) { return userns.Enter() }
