package injector

import (
	"net"
	"net/netip"
	"testing"

	"github.com/faultctl/faultctl/injector/internal/kerneltest"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/target"
)

// TestOwnPortOfClient holds that a flow is known again whichever of its ends has
// the service's port: that of a client that calls from it, which is none of the
// rule's, and that between two services.
func TestOwnPortOfClient(t *testing.T) {
	for name, faults := range map[string][]NamedModel{
		"all":          fake(faults.Diversion{All: true}),
		"idle":         {model(t, "idle-expire", "after", "1h")},
		"idle trigger": {model(t, "reset", "at", "idle=1h")},
	} {
		for to, ours := range map[string]bool{"127.0.0.1:80": false, "127.0.0.1:5432": true} {
			t.Run(name+"/"+to, func(t *testing.T) {
				ns := kerneltest.NetNS(t)
				inj, stop := startInjector(t, ns, false, Config{Rules: []Rule{{
					Match: target.Matcher{To: []target.Endpoint{{LowPort: 5432, HighPort: 5432}}}, Faults: faults,
				}}})
				talkFrom(t, net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2), Port: 5432}}, netip.MustParseAddrPort(to), 20)
				stop()
				s := inj.Stats()
				if chosen := s.Rules[0].Chosen == 1; chosen != ours {
					t.Errorf("%d connections chosen, want one: %v", s.Rules[0].Chosen, ours)
				}
				if whole := ours && name == "all"; whole && s.Diverted < 40 || !whole && s.Diverted != 1 {
					t.Errorf("%d packets entered user space, want all 40 or more: %v, or else the SYN", s.Diverted, whole)
				}
			})
		}
	}
}
