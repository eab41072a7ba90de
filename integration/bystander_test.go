package integration

import (
	"net/netip"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
)

// needed are the settings of faults that do nothing without one.
var needed = map[string]string{
	"idle-expire": "after=100ms", "loss": "chance=50%", "delay": "by=10ms,jitter=10ms", "duplicate": "chance=50%",
	"reorder": "chance=50%", "corrupt": "chance=50%", "throttle": "rate=1mbit", "half-open": "at=request,peer=rebooted",
	"stall": "at=request", "reset": "at=request", "slice": "size=1",
}

// TestBystander checks that no fault of the catalogue, wherever faultctl runs,
// affects a connection that it does not match: not while it strikes another one,
// and not when it starts or stops.
func TestBystander(t *testing.T) {
	everywhere(t, func(t *testing.T, w *testbed) {
		ln, at := w.listen(netip.AddrPortFrom(w.service.Addr(), 5433))
		by, byServer := w.openTo(ln, at)
		for _, kind := range faults.Catalog {
			spec := kind.Name + ":" + needed[kind.Name]
			run := w.inject(spec)
			healthy(t, kind.Name+": bystander", by, byServer)
			w.victim()
			healthy(t, kind.Name+": bystander, once it has struck", by, byServer)
			fresh, freshServer := w.openTo(ln, at)
			healthy(t, kind.Name+": new bystander", fresh, freshServer)
			fresh.Close()
			freshServer.Close()
			run.stop()
			if s := run.Stats(); s.Overruns != 0 || s.Foreign != 0 {
				t.Errorf("%s: %+v", kind.Name, s)
			}
			if t.Failed() {
				t.Fatalf("with %s", spec)
			}
		}
		healthy(t, "bystander in the end", by, byServer)
	})
}

// victim opens a connection that a fault may do anything to.
func (w *testbed) victim() {
	w.t.Helper()
	c := w.client()
	defer c.Close()
	c.Timeout(50 * time.Millisecond)
	if c.Connect(w.service) != "ok" {
		return
	}
	c.Send("ping")
	c.Recv()
}
