package injector

import (
	"testing"
	"time"

	"github.com/faultctl/faultctl/injector/internal/watchdog"
)

// TestLeastWatchdog checks that no limit is taken that an idle worker would miss.
func TestLeastWatchdog(t *testing.T) {
	for limit, ok := range map[time.Duration]bool{-1: true, 0: true, leastWatchdog: true, leastWatchdog - 1: false, 1: false} {
		cfg := Config{Watchdog: limit, Rules: []Rule{ruleOf(model(t, "reset"))}}
		if err := cfg.Validate(); (err == nil) != ok {
			t.Errorf("a limit of %v: %v", limit, err)
		}
	}
	if d := watchdog.Timeout(leastWatchdog); d < 3*idleWait {
		t.Errorf("the timeout of %v is hardly more than the %v of an idle worker", d, idleWait)
	}
}
