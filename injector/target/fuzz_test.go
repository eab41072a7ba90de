package target

import (
	"context"
	"errors"
	"net/netip"
	"testing"
)

// FuzzEnds checks that no end of a target makes its reader panic, and that one that is
// understood names something.
func FuzzEnds(f *testing.F) {
	for _, text := range []string{":5432", "10.0.0.5:80,443", "[fd00::5]:8000-8100", "10.0.0.0/8", "fd00::/64", "db.internal:5432", "0.0.0.0:80", "::", "[", "]:", ":1-", "10.0.0.0/33:1", "fe80::1%eth0:80", ":\x00"} {
		f.Add(text)
	}
	lookup := func(_ context.Context, name string) ([]netip.Addr, error) {
		if name == "db.internal" {
			return []netip.Addr{netip.MustParseAddr("10.0.0.9")}, nil
		}
		return nil, errors.New("no such host")
	}
	f.Fuzz(func(t *testing.T, text string) {
		if es, err := ParseEndpoints(t.Context(), text, lookup); err == nil && len(es) == 0 {
			t.Errorf("%q names nothing", text)
		}
		if ps, err := ParseHosts(t.Context(), text, lookup); err == nil && len(ps) == 0 {
			t.Errorf("%q names no host", text)
		}
	})
}
