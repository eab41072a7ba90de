// Package strike runs faults in the process of a test.
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

// Fault is the fault of a SPEC, name:knob=value,knob=value. A knob without a
// value is a switch that is turned on.
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

// Begin runs cfg, with the seed 1, and returns once its rules are in. OnEvent
// gets all events but Ready. It is for the caller to see to it that stop is
// called, which ends the run and says what became of it; again it does nothing.
func Begin(t testing.TB, cfg injector.Config) (inj *injector.Injector, stop func()) {
	t.Helper()
	ready := make(chan struct{})
	cfg.Seed = 1
	cfg.DeadMan = -1 // nobody else is here; what it does is held by tests of whole processes
	tell := cfg.OnEvent
	cfg.OnEvent = func(ev injector.Event) {
		switch {
		case ev.Kind == injector.Ready:
			close(ready)
		case tell != nil:
			tell(ev)
		}
	}
	inj, err := injector.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- inj.Run(ctx) }()
	select {
	case <-ready:
	case err := <-ended:
		cancel()
		t.Fatalf("run: %v", err)
	case <-time.After(Overdue):
		cancel()
		t.Fatalf("the run does not begin:\n%s", Stacks())
	}
	return inj, sync.OnceFunc(func() {
		cancel()
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

// Overdue is when a run in this process that does not begin or end is taken to
// hang: it has no dead man's timer.
const Overdue = 2 * time.Minute

// Stacks says what every goroutine of this process does.
func Stacks() []byte {
	b := make([]byte, 4<<20)
	return b[:runtime.Stack(b, true)]
}
