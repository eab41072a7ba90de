package injector

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/kerneltest"
	"github.com/faultctl/faultctl/injector/target"
)

// TestPause checks that nothing enters user space while a run is paused, whatever is
// changed meanwhile, and that the connections of before and of meanwhile are judged when
// it goes on: those of before with the choice that was made.
func TestPause(t *testing.T) {
	bothWays(t, func(t *testing.T, bySet bool) {
		ns := kerneltest.NetNS(t)
		match := target.Matcher{To: []target.Endpoint{{LowPort: 5432, HighPort: 5432}}}
		i, stop := startInjector(t, ns, bySet, Config{Rules: []Rule{
			{Match: match, Pick: target.Pick{Every: 2}, Faults: fake(faults.Diversion{All: true})},
			{Match: target.Matcher{To: []target.Endpoint{{LowPort: 1, HighPort: 1}}}, Faults: fake(faults.Diversion{Idle: time.Hour})},
		}})
		struck, spared := connect(t, "127.0.0.1:5432"), connect(t, "127.0.0.2:5432")
		if !judged(i, struck) || judged(i, spared) {
			t.Fatal("not every second connection is judged, beginning with the first")
		}
		for range 2 {
			if err := i.Pause(); err != nil {
				t.Fatal(err)
			}
		}
		before := i.Stats()
		meanwhile := connect(t, "127.0.0.3:5432")
		quiet := func(what string) {
			t.Helper()
			for _, c := range []*connection{struck, spared, meanwhile} {
				c.talk()
			}
			if n := i.Stats().Diverted; n != before.Diverted {
				t.Errorf("%s: %d packets entered user space while the run is paused", what, n-before.Diverted)
			}
		}
		quiet("paused")
		if err := errors.Join(i.SetShare(0, 0.5), i.SetShare(0, 1)); err != nil {
			t.Fatal(err)
		}
		quiet("another share")
		wide := match
		wide.To = append(wide.To[:1:1], target.Endpoint{LowPort: 80, HighPort: 80})
		if err := i.Retarget(0, wide); err != nil {
			t.Fatal(err)
		}
		quiet("another target")
		for range 2 {
			if err := i.Resume(); err != nil {
				t.Fatal(err)
			}
		}
		if !judged(i, struck) {
			t.Error("the connection that was chosen is not judged any more")
		}
		if judged(i, spared) {
			t.Error("the connection that was not chosen is judged")
		}
		if !judged(i, meanwhile) {
			t.Error("the connection of meanwhile, the third, is not judged")
		}
		if r := i.Stats().Rules[0]; r.Flows != 3 || r.Chosen != 2 {
			t.Errorf("%d connections matched and %d chosen, want 3 and 2", r.Flows, r.Chosen)
		}
		if err := i.Pause(); err != nil { // it can end so
			t.Fatal(err)
		}
		stop()
		if n := i.Stats().Overruns; n != 0 {
			t.Errorf("%d overruns counted, want none", n)
		}
		if got := kerneltest.Tables(t, ns); len(got) != 0 {
			t.Errorf("tables left: %v", got)
		}
		for _, err := range []error{i.Resume(), i.Pause(), i.Resume()} {
			if err != nil {
				t.Errorf("after the run: %v", err)
			}
		}
	})
}

// TestPauseDrains checks that what is held has left, in its order and by a third of
// the time that it was to be held, when a pause has begun.
func TestPauseDrains(t *testing.T) {
	ns := kerneltest.NetNS(t)
	i, stop := startInjector(t, ns, false, Config{Rules: []Rule{{
		Match:  target.Matcher{To: []target.Endpoint{{LowPort: 5432, HighPort: 5432}}},
		Faults: []NamedModel{{"hold", &holdModel{Wants: faults.Diversion{All: true, Whole: true, Holds: true}}}},
	}}})
	c := connect(t, "127.0.0.1:5432")
	if err := i.SetModels(0, []NamedModel{{"hold", &holdModel{By: 10 * time.Second, Wants: faults.Diversion{All: true, Whole: true, Holds: true}}}}); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	if err := i.Pause(); err != nil {
		t.Fatal(err)
	}
	c.talk() // and the answer to that
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("it took %v until the connection went on", took)
	}
	stop()
}

// TestPausedFromTheBeginning checks that a run which is paused before it begins judges
// nothing until it is resumed.
func TestPausedFromTheBeginning(t *testing.T) {
	ns := kerneltest.NetNS(t)
	cfg := Config{NetNS: ns, Watchdog: -1, Paused: true, Rules: []Rule{{Match: target.Matcher{To: []target.Endpoint{{LowPort: 5432, HighPort: 5432}}}, Faults: fake(faults.Diversion{All: true})}}}
	i, err := newInjector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	stop := begin(t, i)
	c := connect(t, "127.0.0.1:5432")
	if judged(i, c) {
		t.Error("a packet is judged before the run is resumed")
	}
	if err := i.Resume(); err != nil {
		t.Fatal(err)
	}
	if !judged(i, c) {
		t.Error("nothing is judged after the run was resumed")
	}
	stop()
}

// TestSetModelsInKernel checks that the kernel hands over what new settings need, of open
// connections too, and that settings which need more of a packet than the queue hands
// over are refused.
func TestSetModelsInKernel(t *testing.T) {
	bothWays(t, func(t *testing.T, bySet bool) {
		ns := kerneltest.NetNS(t)
		wants := func(d faults.Diversion) []NamedModel { return []NamedModel{{"hold", &holdModel{Wants: d}}} }
		i, stop := startInjector(t, ns, bySet, Config{Rules: []Rule{{
			Match:  target.Matcher{To: []target.Endpoint{{LowPort: 5432, HighPort: 5432}}},
			Faults: wants(faults.Diversion{SYN: true}),
		}}})
		c := connect(t, "127.0.0.1:5432")
		if judged(i, c) {
			t.Fatal("more than the SYN is judged")
		}
		if err := i.SetModels(0, wants(faults.Diversion{All: true})); err != nil {
			t.Fatal(err)
		}
		if !judged(i, c) {
			t.Error("an open connection is not judged whole")
		}
		if err := i.SetModels(0, wants(faults.Diversion{All: true, Whole: true})); !errors.Is(err, ErrConfig) {
			t.Errorf("settings that need payloads: %v, want an ErrConfig", err)
		}
		if !judged(i, c) {
			t.Error("a refused change ended the judging")
		}
		stop()
		if r := i.Stats().Rules[0]; r.Flows != 1 || r.Chosen != 1 {
			t.Errorf("%d connections matched and %d chosen, want 1 and 1", r.Flows, r.Chosen)
		}
	})
}

// TestControlWhileBusy checks that a conversation goes on, and nothing is lost of it, while
// the run is paused, resumed and changed all the time, from several goroutines.
func TestControlWhileBusy(t *testing.T) {
	ns := kerneltest.NetNS(t)
	d := faults.Diversion{All: true, Whole: true, Holds: true}
	i, stop := startInjector(t, ns, false, Config{Queues: 2, Rules: []Rule{{
		Match:  target.Matcher{To: []target.Endpoint{{LowPort: 5432, HighPort: 5432}}},
		Faults: []NamedModel{{"hold", &holdModel{By: time.Millisecond, Wants: d}}},
	}}})
	end := make(chan struct{})
	var changing sync.WaitGroup
	for name, do := range map[string]func(n int) error{
		"pause": func(int) error { return errors.Join(i.Pause(), i.Resume()) },
		"models": func(n int) error {
			return i.SetModels(0, []NamedModel{{"hold", &holdModel{By: time.Duration(n%3) * time.Millisecond, Wants: d}}})
		},
		"share": func(n int) error { return i.SetShare(0, float64(n%2)) },
	} {
		changing.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-end:
					return
				default:
				}
				if err := do(n); err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
			}
		})
	}
	var talking sync.WaitGroup
	for k := range 3 {
		c := connect(t, fmt.Sprintf("127.0.0.%d:5432", k+1))
		talking.Go(func() {
			for range 100 {
				c.talk()
			}
		})
	}
	talking.Wait()
	close(end)
	changing.Wait()
	stop()
	if s := i.Stats(); s.Overruns != 0 || s.Unsent != 0 || s.Rules[0].Flows != 3 {
		t.Errorf("%+v; want 3 connections and nothing amiss", s)
	}
}
