package survival

import (
	"sync"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
)

// heldEvents limits the events of one case that wait for the cases before it.
const heldEvents = 1 << 17

// order has cases that run side by side told in the order of the plan: what is told
// of the first one that has not ended goes on at once, the rest waits for its turn.
type order struct {
	w Watcher

	mu   sync.Mutex // held while the watcher is told something
	turn int
	held map[int]*told // by case; those before turn have none
}

// told is what waits to be told of a case.
type told struct {
	what   []func()
	events uint64 // among what
	lost   uint64 // events that are not, since there were too many
	ended  bool
}

func newOrder(w Watcher) *order { return &order{w: w, held: map[int]*told{}} }

// of is what waits of a case; the caller holds mu.
func (o *order) of(nth int) *told {
	if o.held[nth] == nil {
		o.held[nth] = &told{}
	}
	return o.held[nth]
}

// now has do tell the watcher something that is said when it happens.
func (o *order) now(do func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	do()
}

// event tells of an event of the nth case in its turn.
func (o *order) event(nth int, at time.Time, e event.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if nth == o.turn {
		o.w.Event(at, e)
		return
	}
	t := o.of(nth)
	if t.events >= heldEvents {
		t.lost++
		return
	}
	t.events++
	t.what = append(t.what, func() { o.w.Event(at, e) })
}

// end tells the last of the nth case in its turn, and then of the cases after it as
// far as they have ended, and of the next one what waits.
func (o *order) end(nth int, at time.Time, last func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	t := o.of(nth)
	if t.lost > 0 {
		lost := event.Lost{Events: t.lost}
		t.what = append(t.what, func() { o.w.Event(at, lost) })
	}
	t.what, t.ended = append(t.what, last), true
	for t := o.of(o.turn); ; t = o.of(o.turn) {
		for _, do := range t.what {
			do()
		}
		t.what = nil
		if !t.ended {
			return
		}
		delete(o.held, o.turn)
		o.turn++
	}
}
