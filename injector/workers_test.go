package injector

import (
	"testing"
	"time"

	"github.com/faultctl/faultctl/injector/internal/watchdog"
)

// TestWatchdogEndsWithTheWork checks that the timer is gone when the workers are:
// whoever listens may take its time then.
func TestWatchdogEndsWithTheWork(t *testing.T) {
	d, err := watchdog.New(time.Hour, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Stop()
	c := &workers{dog: d}
	if err := c.stop(); err != nil {
		t.Fatal(err)
	}
	if left, err := d.Left(); err == nil {
		t.Errorf("the timer has %v left", left)
	}
}
