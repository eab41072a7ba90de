package packet

import (
	"net/netip"
	"testing"
)

// TestNothingAllocates holds that nothing which the packet path calls
// allocates, for both families.
func TestNothingAllocates(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		f := fields(v6)
		f.SetTimestamps(1, 2)
		router := netip.IPv4Unspecified()
		if v6 {
			router = netip.IPv6Unspecified()
		}
		b := f.Append(nil, make([]byte, 1400))
		copied, out := make([]byte, len(b)), make([]byte, 0, 2048)
		for name, work := range map[string]func(s Segment){
			"Parse": func(s Segment) { Parse(b) },
			"read": func(s Segment) {
				FieldsOf(s)
				s.Timestamps()
				s.SACK()
				s.End()
				s.SrcAddrPort()
				s.DstAddrPort()
			},
			"ChecksumOK":        func(s Segment) { s.ChecksumOK() },
			"UpdateChecksums":   func(s Segment) { s.UpdateChecksums() },
			"Append":            func(s Segment) { f.Append(out, b[:100]) },
			"Answer":            func(s Segment) { a, _ := Answer(s, 0); a.Append(out, nil) },
			"DeviceAnswer":      func(s Segment) { a, _ := DeviceAnswer(s, 0); a.Append(out, nil) },
			"Abort":             func(s Segment) { a := Abort(s); a.Append(out, nil) },
			"AbortInPlace":      func(s Segment) { AbortInPlace(s) },
			"AppendUnreachable": func(s Segment) { AppendUnreachable(out, router, 1, 0, s) },
		} {
			n := testing.AllocsPerRun(100, func() {
				copy(copied, b)
				s, err := Parse(copied)
				if err != nil {
					t.Fatal(err)
				}
				work(s)
			})
			if n != 0 {
				t.Errorf("%s, IPv6 %v: %v allocations", name, v6, n)
			}
		}
		for name, broken := range map[string][]byte{"cut": b[:30], "UDP": edit(b, func(b []byte) { b[6], b[9] = 17, 17 })} {
			if n := testing.AllocsPerRun(100, func() { Parse(broken) }); n != 0 {
				t.Errorf("%s: %v allocations", name, n)
			}
		}
	}
}
