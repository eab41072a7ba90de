// Package integration runs tests against real sockets in network namespaces of
// their own, as root or without.
//
//	func TestMain(m *testing.M) { os.Exit(integration.Main(m)) }
package integration

import (
	"testing"

	"github.com/faultctl/faultctl/integration/lab"
)

// Main runs the tests of m in namespaces of their own and returns the exit
// code. As root it runs them in this process. Otherwise it starts the test
// binary again in a new user and network namespace, where the user is root; the
// host's network is out of reach there.
func Main(m *testing.M) int {
	return lab.Main(m.Run)
}
