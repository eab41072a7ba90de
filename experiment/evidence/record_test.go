package evidence

import (
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/injector"
)

// TestPacketsAroundAFault holds that of a long connection those packets are
// kept that stand near what a fault did, in order, and not too many.
func TestPacketsAroundAFault(t *testing.T) {
	r := &Record{}
	noon := time.Date(2026, 3, 4, 12, 0, 0, 5, time.UTC)
	dbFlow := injector.Flow{Client: "10.0.0.1:43210", Server: "10.0.0.5:5432"}
	send := func(n int, fate injector.Fate) {
		r.packet(injector.Packet{Time: noon.Add(time.Duration(n)), Fate: fate, Flow: dbFlow, Bytes: []byte{0}})
	}
	for n := range 1000 {
		fate := injector.Passed
		if n == 500 {
			fate = injector.Dropped
		}
		send(n, fate)
	}
	var c report.Case
	r.Fill(&c)
	if len(c.Packets) != 2*keptAround+1 || c.Packets[keptAround].Fate != "dropped" || !c.Packets[0].At.Equal(noon.Add(500-keptAround)) {
		t.Errorf("%d packets kept: %+v", len(c.Packets), c.Packets)
	}
	for n := range 1000 {
		send(n, injector.Forged)
	}
	if len(r.packets) > keptOfFlow+keptAround {
		t.Errorf("%d packets of one connection kept", len(r.packets))
	}
}
