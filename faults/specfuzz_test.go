package faults

import "testing"

// FuzzSpecs checks that no SPEC makes its reader panic, and that one that is understood is
// the same when it is written and read again.
func FuzzSpecs(f *testing.F) {
	for _, k := range Names() {
		f.Add(k)
	}
	for _, text := range []string{"idle-expire:after=300s", "delay:by=50ms,jitter=5ms", "reset:at=bytes=1000", "throttle:rate=1mbit", "loss:p=5%,burst=3", "a:b", ":", "delay:by=\x00"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		specs, err := ParseSpecs(text)
		if err != nil {
			return
		}
		for _, s := range specs {
			m, err := s.Model()
			if err != nil {
				continue
			}
			m.Validate()
			again, err := ParseSpecs(s.String())
			if err != nil || len(again) != 1 || again[0].String() != s.String() {
				t.Errorf("%q is written %q, and read as %v, %v", text, s.String(), again, err)
			}
		}
	})
}
