package injector

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
)

// refusing is a table that cannot be asked.
type refusing struct{ err error }

func (r refusing) Remaining(ruleset.SetName, netip.AddrPort, netip.AddrPort) (time.Duration, bool, error) {
	return 0, false, r.err
}

// TestUnknownIdleTime checks that a flow does not count as idle because the kernel
// could not be asked.
func TestUnknownIdleTime(t *testing.T) {
	rules := newRuleStates([]Rule{{Faults: fake(faults.Diversion{Idle: time.Hour})}})
	flow := flowKey{client, server}
	for err, want := range map[error]time.Duration{nil: time.Hour, errors.New("refused"): 0} {
		sets := &tableSets{read: refusing{err}, rules: rules}
		if got := sets.idle(0, flow); got != want {
			t.Errorf("asked, with the error %v: idle for %v, want %v", err, got, want)
		}
	}
}
