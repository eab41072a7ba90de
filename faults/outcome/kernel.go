package outcome

import (
	"time"

	"github.com/faultctl/faultctl/faults"
)

// Kernel takes into account what the kernel says of a side. ev is one of the
// evidences from outside; others are ignored. at is when it was true. NoSocket,
// Orphaned and Owned must be true before the strike: a program that closes after it
// may do so because of it.
func (t *Tracker) Kernel(at time.Duration, side faults.Side, ev Evidence) {
	for i := range t.ends {
		dir, e := faults.Direction(i), &t.ends[i]
		if !side.Includes(dir.From()) {
			continue
		}
		if ev == SocketGone && t.closedInOrder(dir) {
			continue // it would be gone without the strike as well
		}
		if ev == SocketGone && !t.Connected() && at-e.at > soon {
			continue // who gives up to connect closes without a segment
		}
		t.kernel(at, e, ev)
	}
}

// closedInOrder reports whether an end closed by itself: it sent a RST, or both ends
// sent a FIN and each got the other's.
func (t *Tracker) closedInOrder(dir faults.Direction) bool {
	return t.Half[dir].RST || t.Finished()
}

func (t *Tracker) kernel(at time.Duration, e *end, ev Evidence) {
	switch ev {
	case NoSocket:
		e.flags |= nobody
		return
	case Owned:
		if !e.has(struck) {
			e.flags |= owned
		}
		return
	case Orphaned:
		if e.has(struck) && at > e.at {
			return // it gave up afterwards, maybe because of the strike
		}
		if e.flags |= detached; e.has(struck) {
			e.set(felt, at, No, ClosedItself)
		}
		return
	}
	if !e.has(struck) || e.has(nobody) {
		return
	}
	switch ev {
	case LeftHost:
		e.set(sent, at, Yes, ev)
		if e.evidence[accepted] == NeverReachedIt {
			e.set(accepted, at, NotKnown, NotYet)
		}
	case Eaten:
		if e.answers[accepted] != Yes {
			e.set(sent, at, No, ev)
			e.set(accepted, at, No, NeverReachedIt)
		}
	case SocketGone, ReceivedReset:
		if Active(e.action) {
			t.accept(at, e, ev)
		}
	case SocketAlive:
		if Active(e.action) && e.answers[accepted] == NotKnown {
			e.set(accepted, at, No, ev)
		}
	case ToldByCall:
		t.accept(at, e, ev)
		if ev := e.evidence[felt]; e.has(detached) || ev == ClosedItself || ev == MayBeHalfClosed {
			return // it had closed: the call may be on another socket that has its memory
		}
		e.set(felt, at, Yes, ev)
	}
}
