package injector

import (
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/kerneltest"
	"github.com/faultctl/faultctl/injector/target"
)

// wishModel is a fault that wishes something of the kernel for each flow.
type wishModel struct {
	diverts faults.Diversion
	wish    func(*faults.Effects)
}

func (m wishModel) Validate() error           { return nil }
func (m wishModel) Diverts() faults.Diversion { return m.diverts }
func (m wishModel) Start() faults.Instance    { return faults.PerFlow(func() faults.Fault { return m }) }
func (m wishModel) OnSegment(_ *faults.Event, out *faults.Effects) faults.Verdict {
	m.wish(out)
	return faults.Pass
}

// TestFullSets checks that a flow which finds no room in one of the kernel's sets
// is counted, with the sets changed by verdicts and from user space, and that
// its packets arrive all the same.
func TestFullSets(t *testing.T) {
	whole := faults.Diversion{All: true}
	for name, tc := range map[string]struct {
		match   target.Matcher
		diverts faults.Diversion
		wish    func(*faults.Effects)
		count   func(Snapshot) uint64
		rules   bool // the rules alone know
	}{
		"captured": {target.Matcher{}, faults.Diversion{SYN: true}, (*faults.Effects).Capture, func(s Snapshot) uint64 { return s.CaptureFull }, false},
		"released": {target.Matcher{}, whole, (*faults.Effects).Release, func(s Snapshot) uint64 { return s.ReleaseFull }, false},
		"live":     {target.Matcher{}, faults.Diversion{Idle: time.Hour}, (*faults.Effects).Admit, func(s Snapshot) uint64 { return s.SetFull }, false},
		"owned": {target.Matcher{Owner: target.Owner{UID: new(uint32(os.Geteuid()))}}, whole, func(*faults.Effects) {},
			func(s Snapshot) uint64 { return s.OwnerFull }, true},
	} {
		for _, bySet := range []bool{false, true} {
			if bySet && tc.rules {
				continue
			}
			t.Run(name+map[bool]string{false: "/priority", true: "/netlink"}[bySet], func(t *testing.T) {
				ns := kerneltest.NetNS(t)
				for _, flows := range []int{1, 3} {
					cfg := Config{Rules: []Rule{{Match: tc.match, Faults: []NamedModel{{"wish", wishModel{tc.diverts, tc.wish}}}}}}
					inj, stop := startWithRoom(t, ns, bySet, 1, cfg)
					for n := range flows {
						talk(t, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(5432+n)), 3)
					}
					stop()
					if got := tc.count(inj.Stats()); (got > 0) != (flows > 1) {
						t.Errorf("%d counted of %d flows, and there is room for one", got, flows)
					}
				}
			})
		}
	}
}
