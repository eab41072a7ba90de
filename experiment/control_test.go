package experiment

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
	"github.com/google/go-cmp/cmp"
)

// TestUpdate holds what each change has the engine do, and what is told of it.
func TestUpdate(t *testing.T) {
	for name, c := range map[string]struct {
		change       func(*Spec)
		does, events string
	}{
		"nothing":       {func(s *Spec) {}, "", ""},
		"the same seed": {func(s *Spec) { s.Seed = nil }, "", ""},
		"a default":     {func(s *Spec) { s.Faults[0] = idleExpire("refresh=all") }, "", ""},
		"a service":     {func(s *Spec) { s.Target.To = []string{"10.0.0.5:80"} }, "retarget 0 10.0.0.5:80", "changed to=10.0.0.5:80"},
		"two services":  {func(s *Spec) { s.Target.To = []string{":80", ":90"} }, "retarget 0 :80 :90", "changed to=:80 to=:90"},
		"every service": {func(s *Spec) { s.Target.To, s.Target.From = nil, []string{"10.0.0.0/8"} }, "retarget 0 from 10.0.0.0/8", "changed to= from=10.0.0.0/8"},
		"a client":      {func(s *Spec) { s.Target.From = []string{"10.0.0.7"} }, "retarget 0 :5432 from 10.0.0.7/32", "changed from=10.0.0.7"},
		"a share":       {func(s *Spec) { s.Target.Percent = new(20.0) }, "share 0 0.2", "changed percent=20"},
		"a setting":     {func(s *Spec) { s.Faults[0] = idleExpire("then=silent") }, "models 0 idle-expire:after=5m,then=silent", "changed fault.then=silent"},
		"less of one":   {func(s *Spec) { s.Faults[0].Knobs[0][1] = "1s" }, "models 0 idle-expire:after=1s", "changed fault.after=1s"},
		"everything": {func(s *Spec) {
			s.Target.To, s.Target.Percent = []string{":80"}, new(0.0)
			s.Faults[0] = idleExpire("then=silent")
		}, "models 0 idle-expire:after=5m,then=silent; retarget 0 :80; share 0 0", "changed to=:80 percent=0 fault.then=silent"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newFakeSystem(t)
			r := w.begin(t, spec())
			next := r.Spec()
			c.change(&next)
			if err := r.Update(t.Context(), next); err != nil {
				t.Fatal(err)
			}
			if got := w.engine(t, 0).took(); got != c.does {
				t.Errorf("the engine did %q, want %q", got, c.does)
			}
			if next.Seed = new(uint64(42)); c.does == "" {
				next = r.Spec() // which may be written in another way
			}
			if diff := cmp.Diff(next, r.Spec()); diff != "" {
				t.Errorf("the run is (-want +got):\n%s", diff)
			}
			if s := r.Spec(); s.Seed == nil || *s.Seed != 42 {
				t.Error("the run has lost its seed")
			}
			r.Stop()
			want := slices.DeleteFunc([]string{"started", "ready", c.events, "ended"}, func(s string) bool { return s == "" })
			if diff := cmp.Diff(want, told(r)); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
		})
	}
}

// The Spec that an update is given stays the caller's.
func TestUpdateKeepsNothing(t *testing.T) {
	w := newFakeSystem(t)
	r := w.begin(t, spec())
	next := r.Spec()
	next.Target.To = []string{":80"}
	if err := r.Update(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	next.Target.To[0], next.Faults[0].Name = ":90", "reset"
	if s := r.Spec(); s.Target.To[0] != ":80" || s.Faults[0].Name != "idle-expire" {
		t.Errorf("the run's Spec became %+v", s)
	}
}

// TestUpdateRefused holds that what cannot change, or is wrong, is said by its
// word, and that nothing is changed then, not even what could be.
func TestUpdateRefused(t *testing.T) {
	for _, c := range []struct {
		field  event.Field
		change func(*Spec)
	}{
		{"netns", func(s *Spec) { s.Target.NetNS = "blue" }},
		{"pid", func(s *Spec) { s.Target.PID = 1 }},
		{"container", func(s *Spec) { s.Target.Container = "web" }},
		{"cgroup", func(s *Spec) { s.Target.Cgroup = "/app" }},
		{"uid", func(s *Spec) { s.Target.UID = "0" }},
		{"every", func(s *Spec) { s.Target.Every = 2 }},
		{"first", func(s *Spec) { s.Target.First = 2 }},
		{"skip", func(s *Spec) { s.Target.Skip = 2 }},
		{"max-connections", func(s *Spec) { s.Target.MaxConnections = 2 }},
		{"new-only", func(s *Spec) { s.Target.NewOnly = true }},
		{"duration", func(s *Spec) { s.Duration = new(time.Minute) }},
		{"duration", func(s *Spec) { s.Duration = nil }},
		{"start-after", func(s *Spec) { s.StartAfter = time.Second }},
		{"resolve-every", func(s *Spec) { s.ResolveEvery = new(time.Second) }},
		{"seed", func(s *Spec) { s.Seed = new(uint64(7)) }},
		{"queues", func(s *Spec) { s.Queues = 2 }},
		{"expect-fired", func(s *Spec) { s.ExpectFired = true }},
		{"allow-idle", func(s *Spec) { s.AllowIdle = true }},
		{"command", func(s *Spec) { s.Command = []string{"true"} }},
		{"timeout", func(s *Spec) { s.Timeout = new(time.Second) }},
		{"isolate", func(s *Spec) { s.Command, s.Isolate = []string{"true"}, true }},
		{"pcap", func(s *Spec) { s.Pcap = "x.pcapng" }},
		{"report", func(s *Spec) { s.Reports = []string{"x.html"} }},
		{"metrics", func(s *Spec) { s.Metrics = ":1" }},
		{"fault", func(s *Spec) { s.Faults = nil }},
		{"fault", func(s *Spec) { s.Faults = append(s.Faults, faults.Spec{Name: "observe"}) }},
		{"fault", func(s *Spec) { s.Faults[0] = faults.Spec{Name: "observe"} }},
		{"fault", func(s *Spec) { s.Faults[0].Name = "nonsense" }},
		{"fault.after", func(s *Spec) { s.Faults[0].Knobs[0][1] = "soon" }},
		{"percent", func(s *Spec) { s.Target.Percent = new(101.0) }},
		{"to", func(s *Spec) { s.Target.To = []string{"no.such.host:80"} }},
		{"to", func(s *Spec) { s.Target.To = []string{":80000"} }},
		{"from", func(s *Spec) { s.Target.From = []string{"10.0.0.0/33"} }},
	} {
		w := newFakeSystem(t)
		r := w.begin(t, spec())
		was := r.Spec()
		next := r.Spec()
		next.Target.Percent = new(20.0) // which could be changed
		c.change(&next)
		err := r.Update(t.Context(), next)
		var problems event.Problems
		if !errors.As(err, &problems) || !slices.ContainsFunc(problems, func(e *event.Error) bool { return e.Field == c.field && e.Code == event.CodeUsage }) {
			t.Errorf("%s: %v", c.field, err)
		}
		if did := w.engine(t, 0).took(); did != "" {
			t.Errorf("%s: the engine did %s", c.field, did)
		}
		if diff := cmp.Diff(was, r.Spec()); diff != "" {
			t.Errorf("%s: the run changed (-was +is):\n%s", c.field, diff)
		}
		r.Stop()
		if diff := cmp.Diff([]string{"started", "ready", "ended"}, told(r)); diff != "" {
			t.Errorf("%s: told (-want +got):\n%s", c.field, diff)
		}
	}
}

// TestUpdateTakenBack holds that a change which the engine refuses leaves nothing of
// what it did before that.
func TestUpdateTakenBack(t *testing.T) {
	change := func(s *Spec) {
		s.Target.To, s.Target.Percent = []string{":80"}, new(20.0)
		s.Faults[0] = idleExpire("then=silent")
	}
	const models, back = "models 0 idle-expire:after=5m,then=silent", "models 0 idle-expire:after=5m"
	for word, did := range map[string]string{
		"models":   "",
		"retarget": models + "; " + back,
		"share":    models + "; retarget 0 :80; retarget 0 :5432; " + back,
	} {
		w := newFakeSystem(t)
		r := w.begin(t, spec())
		e := w.engine(t, 0)
		refused := fmt.Errorf("%w: no", injector.ErrConfig)
		e.fail(word, refused)
		was, next := r.Spec(), r.Spec()
		change(&next)
		if err := r.Update(t.Context(), next); !errors.Is(err, refused) {
			t.Errorf("%s: %v", word, err)
		}
		if got := e.took(); got != did {
			t.Errorf("%s: the engine did %q, want %q", word, got, did)
		}
		if diff := cmp.Diff(was, r.Spec()); diff != "" {
			t.Errorf("%s: the run changed (-was +is):\n%s", word, diff)
		}
		e.fail(word, nil)
		if err := r.Update(t.Context(), next); err != nil {
			t.Errorf("%s: once more: %v", word, err)
		}
		if got, want := e.took(), models+"; retarget 0 :80; share 0 0.2"; got != want {
			t.Errorf("%s: once more the engine did %q, want %q", word, got, want)
		}
	}
}

func TestSetShare(t *testing.T) {
	w := newFakeSystem(t)
	r := w.begin(t, spec())
	for share, does := range map[float64]string{0.07: "share 0 0.07", 0: "share 0 0", 1: "share 0 1"} {
		if err := r.SetShare(share); err != nil || w.engine(t, 0).took() != does {
			t.Errorf("%v: %v", share, err)
		}
		if got := *r.Spec().Target.Percent; got != math.Round(share*100) {
			t.Errorf("%v: the run has %v percent", share, got)
		}
	}
	for _, share := range []float64{-0.1, 1.1, math.NaN(), math.Inf(1)} {
		var problems event.Problems
		if err := r.SetShare(share); !errors.As(err, &problems) || problems[0].Field != "percent" {
			t.Errorf("%v: %v", share, err)
		}
	}
	if did := w.engine(t, 0).took(); did != "" {
		t.Errorf("the engine did %s", did)
	}
}

// TestChangesAtOnce holds that changes from several goroutines happen one after the
// other, each of them once.
func TestChangesAtOnce(t *testing.T) {
	w := newFakeSystem(t)
	r := w.begin(t, spec())
	var all sync.WaitGroup
	for n := range 20 {
		all.Go(func() {
			if err := r.SetShare(float64(n+1) / 100); err != nil {
				t.Error(err)
			}
		})
		all.Go(func() { r.Pause() })
		all.Go(func() { r.Resume() })
		all.Go(func() { r.Stats() })
	}
	all.Wait()
	r.Stop()
	paused, changed := false, 0
	for _, e := range told(r) {
		switch {
		case e == "paused" && paused, e == "resumed" && !paused:
			t.Errorf("%s twice in a row", e)
		case e == "paused", e == "resumed":
			paused = !paused
		case strings.HasPrefix(e, "changed"):
			changed++
		}
	}
	if did := strings.Count(w.engine(t, 0).took(), "share"); did != 20 || changed != 20 {
		t.Errorf("the engine changed the share %d times, and %d were told", did, changed)
	}
}

func TestPause(t *testing.T) {
	w := newFakeSystem(t)
	r := w.begin(t, spec())
	e := w.engine(t, 0)
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	ok(r.Resume()) // it is not paused
	ok(r.Pause())
	ok(r.Pause()) // it is
	ok(r.SetShare(0.5))
	ok(r.Resume())
	if got, want := e.took(), "pause; share 0 0.5; resume"; got != want {
		t.Errorf("the engine did %q, want %q", got, want)
	}
	broken := errors.New("the kernel refuses")
	e.fail("pause", broken)
	if err := r.Pause(); !errors.Is(err, broken) {
		t.Errorf("a pause that the engine refuses: %v", err)
	}
	e.fail("pause", nil)
	ok(r.Pause())
	e.fail("resume", broken)
	if err := r.Resume(); !errors.Is(err, broken) {
		t.Errorf("a resumption that the engine refuses: %v", err)
	}
	e.fail("resume", nil)
	ok(r.Resume())
	ok(r.Stop())
	if diff := cmp.Diff([]string{"started", "ready", "paused", "changed percent=50", "resumed", "paused", "resumed", "ended"}, told(r)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

// TestChangesAfterTheEnd holds that a run which is over is not changed.
func TestChangesAfterTheEnd(t *testing.T) {
	w := newFakeSystem(t)
	r := w.begin(t, spec())
	r.Stop()
	next := r.Spec()
	next.Target.To = []string{":80"}
	for what, err := range map[string]error{
		"Update": r.Update(t.Context(), next), "SetShare": r.SetShare(0), "Pause": r.Pause(), "Resume": r.Resume(),
	} {
		if !errors.Is(err, ErrEnded) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if did := w.engine(t, 0).took(); did != "" {
		t.Errorf("the engine did %s", did)
	}
	if diff := cmp.Diff([]string{"started", "ready", "ended"}, told(r)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

// TestPausedContainerRestarts holds that a run stays paused, and as it was changed,
// when its container is restarted: the engine in the new namespace begins so.
func TestPausedContainerRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeSystem(t)
		w.runContainer(1)
		r := w.begin(t, spec(func(s *Spec) { s.Target.Container = "web" }))
		if w.engine(t, 0).cfg.Paused {
			t.Error("the run begins paused")
		}
		if err := errors.Join(r.Pause(), r.SetShare(0.5)); err != nil {
			t.Fatal(err)
		}
		w.runContainer(2)
		time.Sleep(3 * time.Second) // it is looked at every 2
		second := w.engine(t, 1)
		if !second.cfg.Paused || second.cfg.Rules[0].Pick.Share.Chance() != 0.5 || second.took() != "" {
			t.Errorf("the second engine: paused: %v, %+v", second.cfg.Paused, second.cfg.Rules[0].Pick)
		}

		w.runContainer(0)
		time.Sleep(3 * time.Second)
		next := r.Spec()
		next.Faults[0] = idleExpire("then=silent")
		next.Target.To = []string{":80"}
		if err := errors.Join(r.Update(t.Context(), next), r.Resume()); err != nil { // while there is no container
			t.Fatal(err)
		}
		w.runContainer(3)
		time.Sleep(time.Second)
		third := w.engine(t, 2)
		rule := third.cfg.Rules[0]
		if third.cfg.Paused || matcherText(rule.Match) != ":80" || specsOf(rule.Faults) != "idle-expire:after=5m,then=silent" || third.took() != "" {
			t.Errorf("the third engine: paused: %v, %s, %s", third.cfg.Paused, matcherText(rule.Match), specsOf(rule.Faults))
		}
		if err := r.Pause(); err != nil || third.took() != "pause" {
			t.Errorf("the third engine is not paused: %v", err)
		}
		r.Stop()
		want := []string{"started", "ready", "paused", "changed percent=50", "target container web", "target container web", "ready",
			"target container web", "changed to=:80 fault.then=silent", "resumed", "target container web", "ready", "paused", "ended"}
		if diff := cmp.Diff(want, told(r)); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
	})
}

// TestUpdatedNamesFollowed holds that a host name which an update brings is looked
// up again like those of the beginning.
func TestUpdatedNamesFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeSystem(t)
		w.resolve("db", "10.0.0.5")
		r := w.begin(t, spec())
		e := w.engine(t, 0)
		next := r.Spec()
		next.Target.To = []string{"db:80"}
		if err := r.Update(t.Context(), next); err != nil || e.took() != "retarget 0 10.0.0.5:80" {
			t.Fatal(err)
		}
		w.resolve("db", "10.0.0.6")
		time.Sleep(resolveEvery + time.Second)
		if got, want := e.took(), "retarget 0 10.0.0.5:80 10.0.0.6:80"; got != want {
			t.Errorf("the engine did %q, want %q", got, want)
		}
		next.Target.To = []string{":80"}
		if err := r.Update(t.Context(), next); err != nil || e.took() != "retarget 0 :80" {
			t.Fatal(err)
		}
		w.resolve("db", "10.0.0.7")
		time.Sleep(resolveEvery + time.Second)
		if did := e.took(); did != "" {
			t.Errorf("after the name is gone from the target the engine did %s", did)
		}
	})
}
