package injector

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/outcome"
)

// reporter carries events from a worker to Config.OnEvent without making the worker
// wait: a ring that one goroutine writes and another reads. Events that find it full
// are lost, and counted.
type reporter struct {
	ring  [ringSize]record
	write atomic.Uint64
	read  atomic.Uint64
	bell  chan struct{}
	lost  *atomic.Uint64
}

const ringSize = 1 << 12

// record is an event that is not formatted yet.
type record struct {
	kind           EventKind
	at             time.Time
	client, server netip.AddrPort
	rule           int
	nth            uint64
	fault          *counters
	midstream      bool
	note           faults.Note
	outcome        outcome.Outcome
}

func newReporter(bell chan struct{}, lost *atomic.Uint64) *reporter {
	return &reporter{bell: bell, lost: lost}
}

// put adds a record. Only one goroutine may call it.
func (r *reporter) put(rec record) {
	w := r.write.Load()
	if w-r.read.Load() == ringSize {
		r.lost.Add(1)
		return
	}
	r.ring[w%ringSize] = rec
	r.write.Store(w + 1)
	select {
	case r.bell <- struct{}{}:
	default: // the reader has been woken already
	}
}

// full reports whether there is hardly any room left.
func (r *reporter) full() bool { return r.write.Load()-r.read.Load() > ringSize-64 }

// oldest returns the time of the oldest record in the ring.
func (r *reporter) oldest() (time.Time, bool) {
	n := r.read.Load()
	if n == r.write.Load() {
		return time.Time{}, false
	}
	return r.ring[n%ringSize].at, true
}

// take removes the oldest record and hands it to tell.
func (r *reporter) take(tell func(Event)) {
	n := r.read.Load()
	ev := r.ring[n%ringSize].event()
	r.read.Store(n + 1)
	tell(ev)
}

// ring is written by a worker and read by another goroutine.
type ring[T any] interface {
	oldest() (time.Time, bool)
	take(tell func(T))
}

// minDeliveryGap is how long the delivery of events pauses after it has delivered all
// there were. In a burst of events it then wakes up once per gap and not once per
// event, which would cost the worker more than the event itself. An event that comes
// alone is delivered at once.
const minDeliveryGap = 5 * time.Millisecond

// deliver hands the records of all workers' rings to tell, the oldest first, until done
// is closed, and then what is left. It waits for the bell, which the rings ring, and
// pauses for rest between two rounds.
func deliver[T any](rings []ring[T], bell, done <-chan struct{}, rest time.Duration, tell func(T)) {
	for {
		select {
		case <-bell:
			deliverAll(rings, tell)
		case <-done:
			deliverAll(rings, tell)
			return
		}
		if rest > 0 {
			select {
			case <-time.After(rest):
			case <-done:
			}
		}
	}
}

func deliverAll[T any](rings []ring[T], tell func(T)) {
	for {
		var first ring[T]
		var at time.Time
		for _, r := range rings {
			if t, ok := r.oldest(); ok && (first == nil || t.Before(at)) {
				first, at = r, t
			}
		}
		if first == nil {
			return
		}
		first.take(tell)
	}
}

func (rec *record) event() Event {
	ev := Event{
		Time: rec.at, Kind: rec.kind, Rule: rec.rule, Ordinal: rec.nth, Midstream: rec.midstream,
		Flow:    Flow{Client: rec.client.String(), Server: rec.server.String()},
		Outcome: rec.outcome, Action: rec.note.Action, To: rec.note.To, Reason: rec.note.Reason,
	}
	if rec.fault != nil {
		ev.Fault = rec.fault.name
	}
	return ev
}
