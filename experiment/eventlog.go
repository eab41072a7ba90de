package experiment

import (
	"iter"
	"sync"

	"github.com/faultctl/faultctl/experiment/event"
)

// logged is how many events a run keeps for readers that start late or fall
// behind.
const logged = 1 << 13

// eventLog keeps the last events of a run for any number of readers, each at its
// own pace. It never waits for a reader.
type eventLog struct {
	mu     sync.Mutex
	more   *sync.Cond // signaled when there is a new event, or when the log is closed
	events []event.Event
	first  uint64 // the ordinal of events[0]
	over   bool
}

func (l *eventLog) init() { l.more = sync.NewCond(&l.mu) }

// add adds an event. It reports false after close.
func (l *eventLog) add(e event.Event) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return false
	}
	if len(l.events) == 2*logged { // rarely, and not one by one
		l.events = append(l.events[:0], l.events[logged:]...)
		l.first += logged
	}
	l.events = append(l.events, e)
	l.more.Broadcast()
	return true
}

func (l *eventLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	l.more.Broadcast()
}

// all returns the events from the oldest one that is kept until the log is
// closed.
func (l *eventLog) all() iter.Seq[event.Event] {
	return func(yield func(event.Event) bool) {
		for next := uint64(0); ; {
			batch, lost := l.from(next)
			next += lost + uint64(len(batch))
			if lost > 0 && !yield(event.Stamp(batch[0].When(), event.Lost{Events: lost})) {
				return
			}
			for _, e := range batch {
				if !yield(e) {
					return
				}
			}
			if len(batch) == 0 {
				return
			}
		}
	}
}

// from returns the events from an ordinal on, and how many of those were dropped
// from the log already. It waits until there is at least one event, and returns
// none once the log is closed.
func (l *eventLog) from(next uint64) (batch []event.Event, lost uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for next >= l.first+uint64(len(l.events)) && !l.over {
		l.more.Wait()
	}
	if next < l.first {
		lost = l.first - next
		next = l.first
	}
	return append(batch, l.events[next-l.first:]...), lost
}
