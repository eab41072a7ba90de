package integration

import (
	"net/netip"
	"testing"
	"time"

	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/strike"
	"github.com/faultctl/faultctl/lab"
)

// TestHappyEyeballs checks on real sockets that of two connections over both address
// families, as one try of a client with Happy Eyeballs opens them, not one is struck
// and the other left: with every second one struck, both are refused, then neither.
func TestHappyEyeballs(t *testing.T) {
	if !lab.IPv6() {
		lacks(t, "this kernel has no IPv6")
	}
	for _, at := range []vantage{atClient, loopback} {
		t.Run(string(at), func(t *testing.T) {
			t.Parallel()
			w := newTestbed(t, at, false)
			six := w.Server.V6
			if at == loopback {
				six = netip.IPv6Loopback()
			}
			_, service6 := w.listen(netip.AddrPortFrom(six, w.service.Port()))
			w.run(injector.Config{Rules: []injector.Rule{{
				Match:  target.Matcher{To: []target.Endpoint{{LowPort: w.service.Port(), HighPort: w.service.Port()}}},
				Faults: []injector.NamedModel{strike.Fault(t, "refuse")},
				Pick:   target.Pick{Every: 2},
			}}})
			dial := func(to netip.AddrPort) string {
				c, err := w.from.Client(to.Addr())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(c.Close)
				return c.Connect(to)
			}
			for try, want := range []string{"ECONNREFUSED", "ok", "ECONNREFUSED"} {
				if try > 0 {
					time.Sleep(2 * time.Millisecond)
				}
				says(t, "one try", dial(service6), dial(w.service))(want, want)
			}
		})
	}
}
