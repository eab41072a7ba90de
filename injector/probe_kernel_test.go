package injector

import (
	"runtime"
	"testing"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/kerneltest"
	"golang.org/x/sys/unix"
)

// TestProbeDenied checks that what a user may not do is told from what the kernel
// cannot do. The thread that gives up its rights ends with its goroutine.
func TestProbeDenied(t *testing.T) {
	var features []Feature
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err = unix.Capset(&header, &none[0]); err == nil {
			features = Probe()
		}
	}()
	<-done
	if err != nil {
		t.Fatalf("give up the rights of a thread: %v", err)
	}
	denied := 0
	for _, f := range features {
		switch {
		case f.OK && f.Denied:
			t.Errorf("%s is there and denied", f.Name)
		case f.Denied && f.Remedy != rights:
			t.Errorf("%s is denied, and the remedy is to %s", f.Name, f.Remedy)
		case f.Needed && !f.OK && !f.Denied:
			t.Errorf("%s is missing for another reason than rights: %s", f.Name, f.Detail)
		case f.Denied:
			denied++
		}
	}
	if denied == 0 {
		t.Error("without a right nothing is denied")
	}
}

// preflight finds nothing amiss where a run can begin, and leaves nothing.
func TestPreflight(t *testing.T) {
	ns := kerneltest.NetNS(t)
	i, err := newInjector(Config{NetNS: ns, Rules: []Rule{{Faults: fake(faults.Diversion{SYN: true})}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := i.preflight(); err != nil {
		t.Error(err)
	}
	if got := kerneltest.Tables(t, ns); len(got) != 0 {
		t.Errorf("tables left: %v", got)
	}
}
