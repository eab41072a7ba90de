// Package strike runs faults in a test's own process.
package strike

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
)

// Fault returns the fault of a SPEC, name:knob=value,knob=value. A knob without a
// value is a boolean that is set to true.
func Fault(t testing.TB, spec string) injector.NamedModel {
	t.Helper()
	name, knobs, _ := strings.Cut(spec, ":")
	kind, err := faults.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	m := kind.New()
	for _, k := range strings.FieldsFunc(knobs, func(r rune) bool { return r == ',' }) {
		knob, value, has := strings.Cut(k, "=")
		if !has {
			value = "true"
		}
		if err := faults.Set(m, knob, value); err != nil {
			t.Fatal(err)
		}
	}
	return injector.NamedModel{Name: name, Model: m}
}

// Begin runs cfg with seed 1, and returns once its rules are installed. OnEvent
// gets all events except Ready. The caller must call stop, which ends the run and
// fails the test if the run failed; further calls do nothing.
func Begin(t testing.TB, cfg injector.Config) (inj *injector.Injector, stop func()) {
	t.Helper()
	cfg.Seed = 1
	cfg.Watchdog = -1 // it would kill the test process; tests of whole processes check it
	if tell := cfg.OnEvent; tell != nil {
		cfg.OnEvent = func(ev injector.Event) {
			if ev.Kind != injector.Ready {
				tell(ev)
			}
		}
	}
	begun := make(chan error, 1)
	go func() {
		var err error
		inj, err = injector.Start(context.Background(), cfg)
		begun <- err
	}()
	select {
	case err := <-begun:
		if err != nil {
			t.Fatalf("run: %v", err)
		}
	case <-time.After(Overdue):
		t.Fatalf("the run does not start:\n%s", Stacks())
	}
	return inj, sync.OnceFunc(func() {
		ended := make(chan error, 1)
		go func() { ended <- inj.Stop() }()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(Overdue):
			t.Errorf("the run does not end:\n%s", Stacks())
		}
	})
}

// Overdue is how long a run in this process may take to start or end before it is
// considered hung: it has no watchdog.
const Overdue = 2 * time.Minute

// Stacks returns the stacks of all goroutines of this process.
func Stacks() []byte {
	b := make([]byte, 4<<20)
	return b[:runtime.Stack(b, true)]
}
