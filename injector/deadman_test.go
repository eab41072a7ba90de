package injector

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDeadManLimit holds that a run says what to raise where its user may have no
// more pending signals, of which a timer takes one.
func TestDeadManLimit(t *testing.T) {
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_SIGPENDING, &old); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_SIGPENDING, &old); err != nil {
			t.Error(err)
		}
	})
	if err := unix.Setrlimit(unix.RLIMIT_SIGPENDING, &unix.Rlimit{Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	d, err := newDeadMan(defaultDeadMan, 1)
	if err == nil {
		d.stop()
		t.Fatal("the timer was started without a pending signal to spare")
	}
	if !strings.Contains(err.Error(), "ulimit -i") {
		t.Errorf("%v: does not say what to do", err)
	}
}
