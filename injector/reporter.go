package injector

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/faultctl/faultctl/faults"
)

// reporter carries events from a worker to Config.OnEvent without making the
// worker wait: a ring that one side writes and the other reads. When it is
// full, events are lost, and counted.
type reporter struct {
	ring  [ringSize]record
	write atomic.Uint64
	read  atomic.Uint64
	bell  chan struct{}
	lost  *atomic.Uint64
}

const ringSize = 1 << 12

// record is an event before anybody formats it.
type record struct {
	kind           EventKind
	at             time.Time
	client, server netip.AddrPort
	rule           int
	nth            uint64
	fault          *counters
	midstream      bool
	note           faults.Note
}

func newReporter(lost *atomic.Uint64) *reporter {
	return &reporter{bell: make(chan struct{}, 1), lost: lost}
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
	default: // it has been rung already
	}
}

// deliver hands records to tell until done is closed, and then those that are
// left.
func (r *reporter) deliver(done <-chan struct{}, tell func(Event)) {
	for {
		select {
		case <-r.bell:
			r.drain(tell)
		case <-done:
			r.drain(tell)
			return
		}
	}
}

func (r *reporter) drain(tell func(Event)) {
	for n := r.read.Load(); n < r.write.Load(); n++ {
		ev := r.ring[n%ringSize].event()
		r.read.Store(n + 1)
		tell(ev)
	}
}

func (rec *record) event() Event {
	ev := Event{
		Time: rec.at, Kind: rec.kind, Rule: rec.rule, Ordinal: rec.nth, Midstream: rec.midstream,
		Flow:   Flow{Client: rec.client.String(), Server: rec.server.String()},
		Action: rec.note.Action, To: rec.note.To, Reason: rec.note.Reason,
	}
	if rec.fault != nil {
		ev.Fault = rec.fault.name
	}
	return ev
}
