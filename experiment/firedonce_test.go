package experiment

import (
	"testing"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
)

// TestFiredOnce holds that an action is told once for a connection and a reason.
func TestFiredOnce(t *testing.T) {
	var o firedOnce
	ev := injector.Event{Kind: injector.Fired, Fault: "stall", Action: faults.Dropped, To: faults.Client, Reason: "full", Flow: injector.Flow{Client: "a", Server: "b"}}
	other, reason, ready := ev, ev, injector.Event{Kind: injector.Ready}
	other.Ordinal, reason.Reason = 1, "empty"
	for i, step := range []struct {
		ev    injector.Event
		again bool
	}{{ev, false}, {ev, true}, {other, false}, {reason, false}, {ready, false}, {ready, false}, {ev, true}} {
		if got := o.again(step.ev); got != step.again {
			t.Errorf("%d: %v", i, got)
		}
	}
	for i := range maxTold + 10 {
		ev.Ordinal = uint64(i)
		o.again(ev)
	}
	if len(o.told) > maxTold {
		t.Errorf("%d actions are remembered", len(o.told))
	}
}
