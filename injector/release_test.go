package injector

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"golang.org/x/sys/unix"
)

// TestUnsentIsCounted holds that what the kernel does not take is counted, and only
// the first of it logged.
func TestUnsentIsCounted(t *testing.T) {
	b := newBench(t, ruleOf(model(t, "duplicate", "chance", "100%")))
	var log strings.Builder
	b.log, b.s.fail = slog.New(slog.NewTextHandler(&log, nil)), unix.ENETUNREACH
	for i := range packet.Seq(3) {
		b.judge(t, forward, segment(faults.Original, packet.ACK, 100+i, 1, "x"))
	}
	if got := b.snapshot().Unsent; got != 3 || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("%d packets counted as unsent, want 3; logged:\n%s", got, &log)
	}
}
