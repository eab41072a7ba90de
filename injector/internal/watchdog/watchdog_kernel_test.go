package watchdog

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestPendingSignals checks that a run says what to raise where its user may have no
// more pending signals, of which a timer takes one.
func TestPendingSignals(t *testing.T) {
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
	d, err := New(time.Second, 1)
	if err == nil {
		d.Stop()
		t.Fatal("the timer was started without a pending signal to spare")
	}
	if !strings.Contains(err.Error(), "ulimit -i") {
		t.Errorf("%v: does not say what to do", err)
	}
}

// TestNeedsEveryWorker checks that the timer is set back only after every worker
// has kicked it.
func TestNeedsEveryWorker(t *testing.T) {
	d, err := New(time.Hour, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Stop()
	ps := [3]Handle{d.Handle(), d.Handle(), d.Handle()}
	kick := func(who, at int) string {
		before := d.round.Load()
		ps[who].Kick(time.Duration(at) * time.Hour)
		return fmt.Sprint(d.round.Load() - before)
	}
	for i, step := range []struct {
		who, at int
		want    string
	}{{0, 1, "0"}, {0, 2, "0"}, {1, 2, "0"}, {0, 3, "0"}, {1, 3, "0"}, {2, 3, "1"}, {2, 3, "0"}, {1, 4, "0"}, {0, 4, "0"}, {2, 4, "1"}} {
		if got := kick(step.who, step.at); got != step.want {
			t.Errorf("step %d: the timer was set back %s times, want %s", i, got, step.want)
		}
	}
	if left, err := d.Left(); err != nil || left < 3000*time.Second {
		t.Errorf("the timer has %v left, %v", left, err)
	}
}
