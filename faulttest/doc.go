// Package faulttest injects faults into a Go program's own connections in its
// tests.
//
//	func TestMain(m *testing.M) { os.Exit(faulttest.Main(m)) }
//
//	func TestPoolSurvivesTheLoadBalancer(t *testing.T) {
//		faulttest.Inject(t, &faults.IdleExpire{After: time.Second}, faulttest.To(db.Addr()))
//		…
//	}
//
// The fault is active when Inject returns, and stopped when the test ends. The
// test fails if the fault never fired, because it has then shown nothing. Package
// faults has a model of each fault. A [Spec] says a fault in the words of
// faultctl's command line instead: Spec("idle-expire:after=1s").
//
// With [Main] the tests do not need root: they run in a new user and network
// namespace with loopback up, where only the test's own services can be reached.
// The user stays who they are, so that a test can start services that refuse to
// run as root, such as PostgreSQL. As root the tests run in this process, and only
// connections that an option selects are affected.
//
// Under faultctl run and verify without root, Main runs the tests where faultctl
// strikes their connections, and tests that call Inject are skipped.
package faulttest

import (
	"testing"

	"github.com/faultctl/faultctl/lab/userns"
)

// Main runs the tests of m where faults can be injected, and returns the exit
// code. As root it runs them in this process. Otherwise it starts the test binary
// again in a new user and network namespace, where loopback is up, but the host's
// network cannot be reached. The user and group ids stay those of the caller; the
// tests, and what they start, have CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN and
// CAP_NET_BIND_SERVICE there. A test binary that faultctl run or verify started in
// such namespaces stays where it is.
func Main(m *testing.M) int {
	if userns.Caged() {
		return m.Run()
	}
	return userns.MainAsSelf(m.Run)
}
