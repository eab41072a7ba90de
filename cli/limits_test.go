package cli

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/faultctl/faultctl/experiment"
)

// TestNoMoreFiles holds that a limit that is used up is told with its name.
func TestNoMoreFiles(t *testing.T) {
	err := fmt.Errorf("find cgroup v2: %w", &os.PathError{Op: "open", Path: "/proc/self/mountinfo", Err: syscall.EMFILE})
	if a := experiment.AdviceOf(err); !strings.Contains(a, "ulimit -n") {
		t.Errorf("%v: %q does not say what to do", err, a)
	}
	if a := experiment.AdviceOf(fmt.Errorf("start ./job: %w", aboutFile(err))); !strings.Contains(a, "ulimit -n") {
		t.Errorf("%v: %q does not say what to do", err, a)
	}
}
