package injector

import (
	"os"
	"testing"

	"github.com/faultctl/faultctl/lab"
)

// TestMain runs the tests where those that need a kernel may have one, and lets the test
// binary be a client or a server for them.
func TestMain(m *testing.M) {
	helper()
	helperServer()
	os.Exit(lab.Main(m.Run))
}
