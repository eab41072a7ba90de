package integration

import (
	"net"
	"os"
	"testing"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faulttest"
	"github.com/faultctl/faultctl/lab/userns"
)

// struckEnv enables TestStruck.
const struckEnv = "FAULTCTL_TEST_STRUCK"

// TestStruck is what a test binary with Main does under faultctl run: it stays
// where its connections are struck, and skips its own faults if it lacks the
// privileges.
func TestStruck(t *testing.T) {
	if os.Getenv(struckEnv) == "" {
		return // TestRun starts it
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go serve(ln)
	failed := 0
	for range 4 {
		if ask(ln.Addr().String()) != nil {
			failed++
		}
	}
	t.Logf("%d of 4 failed", failed)
	if userns.Caged() {
		t.Run("own", func(t *testing.T) {
			faulttest.Inject(t, &faults.Refuse{}, faulttest.To(ln.Addr().String()))
			t.Error("Inject did not skip the test")
		})
	}
}
