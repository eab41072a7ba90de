package injector

import (
	"net/netip"
	"sync"
	"testing"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/kerneltest"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/lab"
)

// TestQueuesKeepFlowsTogether checks that with several queues each connection is
// with one worker, both directions: it is counted once and seen whole.
func TestQueuesKeepFlowsTogether(t *testing.T) {
	ns := kerneltest.NetNS(t)
	var mu sync.Mutex
	ordinals := map[uint64]int{}
	inj, stop := startInjector(t, ns, false, Config{
		Queues: 4,
		Rules:  []Rule{{Match: target.Matcher{To: []target.Endpoint{{LowPort: 5432, HighPort: 5432}}}, Faults: fake(faults.Diversion{All: true})}},
		OnEvent: func(ev Event) {
			mu.Lock()
			defer mu.Unlock()
			if ev.Kind == Chosen {
				ordinals[ev.Ordinal]++
			}
		},
	})
	const pairs, lines = 16, 10
	for i := range pairs { // each pair of addresses has a hash of its own
		talk(t, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, byte(1 + i)}), 5432), lines)
	}
	other := "[::1]:5432"
	if !lab.IPv6() {
		other = "127.0.1.1:5432"
	}
	talk(t, netip.MustParseAddrPort(other), lines)
	stop()
	s := inj.Stats()
	if s.Rules[0].Chosen != pairs+1 || s.Rules[0].Flows != pairs+1 || s.Overruns != 0 {
		t.Errorf("%+v, want %d connections, each once", s.Rules[0], pairs+1)
	}
	if min := uint64((pairs + 1) * 2 * lines); s.Diverted < min {
		t.Errorf("%d packets judged, want %d at least", s.Diverted, min)
	}
	for n := range uint64(pairs + 1) {
		if ordinals[n] != 1 {
			t.Errorf("ordinal %d was given %d times", n, ordinals[n])
		}
	}
}
