package faults

import (
	"time"

	"github.com/faultctl/faultctl/faults/packet"
)

// turns counts how often it became each end's turn to send: a turn begins with
// payload of an end after payload of the other one, or with the first payload of
// all. Bytes that are sent again begin none.
type turns struct {
	sender Side // whose turn it is; AnySide: nobody has sent payload yet
	of     [2]uint64
}

// onSegment takes a segment into account and returns the number of the turn that
// it belongs to, from 1 on; 0 if it carries no new payload.
func (t *turns) onSegment(ev *Event) uint64 {
	if ev.Seg.PayloadLen() == 0 || !ev.Fresh {
		return 0
	}
	if from := ev.Dir.From(); t.sender != from {
		t.sender = from
		t.of[ev.Dir]++
	}
	return t.of[ev.Dir]
}

// readyQuiet is how long nobody must have sent payload for an exchange to be over
// for good. It is longer than what a client needs for the next step of a login or
// of a TLS handshake, and shorter than a pooled connection waits for its next use.
const readyQuiet = 50 * time.Millisecond

// quietMoment watches for the first request on a connection that was used and then
// quiet.
type quietMoment struct {
	asked    bool          // the client has sent payload
	answered bool          // the server has sent payload since, and sent last
	last     time.Duration // when payload was seen last, or the SYN-ACK
	near     time.Duration // SYN-ACK to ACK: from here to the client and back
	nearOK   bool          // near is known, or never will be
}

// onSegment reports whether the client uses the connection again with this
// segment. A client that answers at once takes the way to it and back to do so:
// that is not quiet. A connection that was open before counts as used, and as quiet
// from the time on from which all of its segments were handed over.
func (q *quietMoment) onSegment(ev *Event, first bool) bool {
	if first && ev.Flow.Midstream {
		q.asked, q.answered, q.nearOK, q.last = true, true, true, ev.Flow.Since
	}
	switch {
	case ev.Seg.Flags().Has(packet.SYN):
		q.last = ev.At
	case !q.nearOK && ev.Dir == Original:
		q.near, q.nearOK = ev.At-q.last, true
	}
	if ev.Seg.PayloadLen() == 0 || !ev.Fresh {
		return false
	}
	ready := ev.Dir == Original && q.answered && ev.At-q.last >= readyQuiet+q.near
	q.asked = q.asked || ev.Dir == Original
	q.answered = q.asked && ev.Dir == Reply
	q.last = ev.At
	return ready
}
