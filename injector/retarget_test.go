package injector

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/faultctl/faultctl/injector/target"
	"github.com/google/go-cmp/cmp"
)

// What the kernel matches never leaves out what either target has.
func TestWider(t *testing.T) {
	ends := func(ports ...uint16) (es []target.Endpoint) {
		for _, p := range ports {
			es = append(es, target.Endpoint{LowPort: p, HighPort: p})
		}
		return es
	}
	many := func(from, n int) (ps []netip.Prefix) {
		for k := range n {
			ps = append(ps, netip.MustParsePrefix(fmt.Sprintf("10.%d.%d.%d/32", (from+k)>>16, (from+k)>>8&255, (from+k)&255)))
		}
		return ps
	}
	for name, c := range map[string]struct{ now, before, want target.Matcher }{
		"other ends":    {target.Matcher{To: ends(2)}, target.Matcher{To: ends(1)}, target.Matcher{To: ends(2, 1)}},
		"the same":      {target.Matcher{To: ends(1, 2)}, target.Matcher{To: ends(2, 1)}, target.Matcher{To: ends(1, 2)}},
		"any now":       {target.Matcher{}, target.Matcher{To: ends(1)}, target.Matcher{}},
		"any before":    {target.Matcher{To: ends(1)}, target.Matcher{}, target.Matcher{}},
		"exceptions":    {target.Matcher{To: ends(1), Except: ends(3, 4)}, target.Matcher{To: ends(1), Except: ends(4, 5)}, target.Matcher{To: ends(1), Except: ends(4)}},
		"the oldest go": {target.Matcher{From: many(0, 3)}, target.Matcher{From: many(3, mostEnds)}, target.Matcher{From: many(0, mostEnds)}},
		"all of now":    {target.Matcher{From: many(0, 2000)}, target.Matcher{From: many(2000, 1)}, target.Matcher{From: many(0, 2000)}},
	} {
		if d := cmp.Diff(c.want, wider(c.now, c.before), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}
