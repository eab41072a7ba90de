// Package faulttest strikes a Go program's own connections in its tests.
//
//	func TestMain(m *testing.M) { os.Exit(faulttest.Main(m)) }
//
//	func TestPoolSurvivesTheLoadBalancer(t *testing.T) {
//		faulttest.Inject(t, "idle-expire:after=1s", faulttest.To(db.Addr()))
//		…
//	}
//
// The fault is there when Inject returns, and gone when the test ends, which
// fails if the fault never fired: then it has shown nothing. What faults there
// are, and their settings, says faultctl faults.
//
// With [Main] the tests need no root: they run in a user and network namespace
// of their own, with loopback up, where the services must be the test's own. As
// root they run where they are, and only connections that an option names are
// touched.
//
// Under faultctl run and verify without root, Main leaves the tests where
// faultctl strikes them, and tests that call Inject are skipped.
package faulttest

import (
	"fmt"
	"os"
	"testing"

	"github.com/faultctl/faultctl/lab/userns"
)

// Main runs the tests of m where faults can be injected, and returns the exit
// code. As root it runs them in this process. Otherwise it starts the test
// binary again in a new user and network namespace, where the user is root and
// loopback is up; the host's network is out of reach there. A test binary that
// faultctl run or verify started in such namespaces stays there.
func Main(m *testing.M) int {
	if userns.Caged() {
		return m.Run()
	}
	if userns.Inside() {
		if err := userns.LoopbackUp(); err != nil {
			fmt.Fprintln(os.Stderr, "faulttest:", err)
			return 1
		}
	}
	return userns.Main(m.Run)
}
