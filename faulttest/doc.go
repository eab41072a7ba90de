// Package faulttest injects faults into a Go program's own connections in its
// tests.
//
//	func TestMain(m *testing.M) { os.Exit(faulttest.Main(m)) }
//
//	func TestPoolSurvivesTheLoadBalancer(t *testing.T) {
//		faulttest.Inject(t, "idle-expire:after=1s", faulttest.To(db.Addr()))
//		…
//	}
//
// The fault is active when Inject returns, and removed when the test ends. The
// test fails if the fault never fired, because it has then shown nothing. The
// command faultctl faults lists the faults and their settings.
//
// With [Main] the tests do not need root: they run in a new user and network
// namespace with loopback up, where only the test's own services can be reached.
// As root they run in this process, and only connections that an option selects
// are affected.
//
// Under faultctl run and verify without root, Main runs the tests where faultctl
// strikes their connections, and tests that call Inject are skipped.
package faulttest

import (
	"fmt"
	"os"
	"testing"

	"github.com/faultctl/faultctl/lab/userns"
)

// Main runs the tests of m where faults can be injected, and returns the exit
// code. As root it runs them in this process. Otherwise it starts the test binary
// again in a new user and network namespace, where the user is root and loopback
// is up, but the host's network cannot be reached. A test binary that faultctl run
// or verify started in such namespaces stays there.
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
