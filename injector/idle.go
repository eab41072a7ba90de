package injector

import "time"

const (
	// parkAfter is how long a flow must be quiet before it is parked: packets
	// that were already queued when the kernel began to accept the flow must not
	// unpark it one by one.
	parkAfter = 100 * time.Millisecond

	// parkBatch is how many flows are parked, or woken by their alarms, before
	// the worker looks at its queue again.
	parkBatch = 64
)

// idleQueue is the flows that may be parked soon, in the order in which they
// were put here.
type idleQueue struct {
	flows []idleFlow
	first int
}

type idleFlow struct {
	flow *entry
	at   time.Duration
}

func (q *idleQueue) len() int { return len(q.flows) - q.first }

func (q *idleQueue) put(f *entry, now time.Duration) {
	f.queued = true
	q.flows = append(q.flows, idleFlow{f, now})
}

// next returns when the first flow will have been here for parkAfter, and false
// if there is none.
func (q *idleQueue) next() (time.Duration, bool) {
	if q.len() == 0 {
		return 0, false
	}
	return q.flows[q.first].at + parkAfter, true
}

// take returns the first flow that has been here for parkAfter, or nil.
func (q *idleQueue) take(now time.Duration) *entry {
	if q.len() == 0 || now-q.flows[q.first].at < parkAfter {
		return nil
	}
	f := q.flows[q.first].flow
	q.flows[q.first] = idleFlow{}
	q.first++
	if q.first > 2*parkBatch && 2*q.first > len(q.flows) {
		q.flows = append(q.flows[:0], q.flows[q.first:]...)
		q.first = 0
	}
	f.queued = false
	return f
}
