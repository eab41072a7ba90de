package injector

import (
	"net/netip"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults/packet"
)

// TestIdleOfItsRule checks that a fault which wakes is told how long its own rule
// has seen nothing of the flow, however many rules watch.
func TestIdleOfItsRule(t *testing.T) {
	both := func(after string) NamedModel { return model(t, "idle-expire", "after", after, "then", "rst-both") }
	b := newBench(t, ruleOf(both("10s")), Rule{Faults: []NamedModel{both("1m")}})
	b.sets.idleOf = map[int]time.Duration{0: 10 * time.Second, 1: time.Minute}
	syn := packet.Fields{Src: client, Dst: netip.AddrPortFrom(server.Addr(), 80), TTL: 64, Flags: packet.SYN}
	b.judge(t, forward, syn.Append(nil, nil)) // a connection of the second rule only
	b.settleAll()
	b.now = time.Minute
	b.wakeParked(b.now)
	if len(b.flows.flows) != 1 {
		t.Fatalf("%d flows are awake, want 1", len(b.flows.flows))
	}
	for _, e := range b.flows.flows {
		if got, want := e.chain.NextWake(), b.now+250*time.Millisecond; got != want {
			t.Errorf("it wakes next at %v, want %v: it has expired, and its ends are asked for their numbers", got, want)
		}
	}
}
