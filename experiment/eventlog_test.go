package experiment

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
)

// nth is an event that can be told from others.
func nth(n uint64) event.Event {
	return event.Stamp(time.Unix(int64(n), 0), event.Flow{Ordinal: n})
}

func newLog(events uint64) *eventLog {
	l := new(eventLog)
	l.init()
	for n := range events {
		l.add(nth(n))
	}
	return l
}

// Whoever comes late reads everything from the beginning, and so does the next.
func TestEventsLate(t *testing.T) {
	l := newLog(3)
	l.close()
	want := []event.Event{nth(0), nth(1), nth(2)}
	for range 2 {
		if got := slices.Collect(l.all()); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	if l.add(nth(3)) {
		t.Error("an event is kept behind the end")
	}
	if got := slices.Collect(l.all()); !slices.Equal(got, want) {
		t.Errorf("after another event: got %v, want %v", got, want)
	}
	none := newLog(0)
	none.close()
	if got := slices.Collect(none.all()); got != nil {
		t.Errorf("a run without events told %v", got)
	}
}

// Readers who are there from the beginning get each event when it happens, and
// their end; one who stops reading disturbs nobody.
func TestEventsMeanwhile(t *testing.T) {
	l := newLog(0)
	var readers sync.WaitGroup
	var read [3][]event.Event
	first := make(chan struct{}, len(read))
	for n := range read {
		readers.Go(func() {
			for e := range l.all() {
				if read[n] = append(read[n], e); len(read[n]) == 1 {
					first <- struct{}{}
				}
				if n == 0 {
					return
				}
			}
		})
	}
	l.add(nth(0))
	for range read {
		<-first // before there are more
	}
	l.add(nth(1))
	l.close()
	readers.Wait()
	for n, want := range [][]event.Event{{nth(0)}, {nth(0), nth(1)}, {nth(0), nth(1)}} {
		if !slices.Equal(read[n], want) {
			t.Errorf("reader %d got %v, want %v", n, read[n], want)
		}
	}
}

// A reader who is too slow, and one who comes too late, are told how many events
// they missed, and get all others in their order.
func TestEventsLost(t *testing.T) {
	l := newLog(1)
	const total = 5*logged + 7
	next, lost, seen := uint64(0), uint64(0), uint64(0)
	read := func(e event.Event) {
		switch e := e.(type) {
		case event.Lost:
			if e.Events == 0 || e.When().IsZero() {
				t.Errorf("%+v says nothing", e)
			}
			lost += e.Events
			next += e.Events
		case event.Flow:
			if e.Ordinal != next {
				t.Fatalf("event %d came where %d was to", e.Ordinal, next)
			}
			next++
			seen++
		}
	}
	for e := range l.all() {
		if read(e); seen == 1 && lost == 0 { // slow
			for n := uint64(1); n < total; n++ {
				l.add(nth(n))
			}
			l.close()
		}
	}
	if next != total || lost == 0 || seen < logged {
		t.Errorf("a slow reader got %d events and missed %d of %d", seen, lost, total)
	}
	next, lost, seen = 0, 0, 0
	for e := range l.all() {
		read(e)
	}
	if next != total || lost == 0 || seen < logged {
		t.Errorf("a late reader got %d events and missed %d of %d", seen, lost, total)
	}
}

// What is told has the times of what happened.
func TestEventsHaveTimes(t *testing.T) {
	w := newFakeSystem(t)
	r := w.begin(t, spec())
	before := time.Now()
	if err := r.Pause(); err != nil {
		t.Fatal(err)
	}
	r.Stop()
	for e := range r.Events() {
		if e.When().IsZero() || e.Name() == "paused" && e.When().Before(before) {
			t.Errorf("%#v has the time %v", e, e.When())
		}
	}
}
