package injector

import (
	"testing"

	"github.com/faultctl/faultctl/injector/internal/kerneltest"

	"github.com/faultctl/faultctl/faults"
)

// Preflight finds nothing amiss where a run can begin, and leaves nothing.
func TestPreflight(t *testing.T) {
	ns := kerneltest.NetNS(t)
	i, err := New(Config{NetNS: ns, Rules: []Rule{{Faults: fake(faults.Diversion{SYN: true})}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Preflight(); err != nil {
		t.Error(err)
	}
	if got := kerneltest.Tables(t, ns); len(got) != 0 {
		t.Errorf("tables left: %v", got)
	}
}
