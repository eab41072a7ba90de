package injector

import (
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
)

const (
	// parkAfter is how long a flow must be quiet before it is parked: the
	// packets that were under way when the kernel began to let it pass do not
	// each wake it again.
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

// mayPark notes that the kernel lets the flow pass from here on, and sees to its
// next alarm: a flow that is parked will have it in its record.
func (w *worker) mayPark(f *entry, now time.Duration) {
	if !f.queued && !f.captured && (f.released || w.wants.Load().waits) {
		w.idle.put(f, now)
	}
	if f.chain != nil && (!f.queued || f.chain.NextWake() <= now+time.Second) {
		w.schedule(f)
	}
}

// parkIdle puts away flows that have been quiet for long enough.
func (w *worker) parkIdle(now time.Duration) {
	for range parkBatch {
		f := w.idle.take(now)
		switch {
		case f == nil:
			return
		case f.deleted:
		case now-f.last < parkAfter:
			w.idle.put(f, now)
		case !w.park(f, now) && f.chain != nil:
			w.schedule(f)
		}
	}
}

// park puts a flow away, and reports whether it could: what is held of it, an
// alarm in the heap, chance that was drawn, or a fault that has more to remember
// than a word keep it awake. A record has one ordinal, so a flow stays that several rules
// match.
func (w *worker) park(f *entry, now time.Duration) bool {
	asleep := faults.Parked{WakeAt: faults.Never}
	switch {
	case len(f.asked) > 1 || f.captured || f.timer != faults.Never || f.due[faults.Original] > now || f.due[faults.Reply] > now || f.turns != [2]int{}:
		return false
	case f.chain == nil:
		if !f.released {
			return false
		}
	default:
		ok := len(w.rules[f.rule].faults) == 1 && *f.pcg == *pcg(w.seed, f.rule, f.nth, 1)
		if ok {
			asleep, ok = f.chain.Park()
		}
		if !ok {
			return false
		}
	}
	w.parked.park(f, asleep)
	w.flows.detach(f)
	for {
		quiet := time.Duration(centiseconds(now)-w.parked.at(w.parked.seen.Oldest()).last) * 10 * time.Millisecond
		if !w.parked.capacity.forgets(w.parked.n, quiet) {
			return true
		}
		if quiet <= forgetAfter {
			w.totals.forgotten.Add(1)
		}
		w.parked.free(w.parked.seen.Oldest())
	}
}

// busy reports whether the kernel has lately let segments of the flow pass that
// keep it from being idle. It is asked only about a flow that the worker has seen
// nothing of for that long.
func (w *worker) busy(f *entry, now time.Duration) bool {
	for _, c := range f.links {
		after := w.rules[c.rule].settings.Load().diverts.Idle
		if after != 0 && now-f.before >= after && w.sets.idle(c.rule, flowKey{f.Client, f.Server}) < after {
			return true
		}
	}
	return false
}

// find returns the flow that the segment belongs to, unparked, and the direction of
// the segment; nil if it is not known.
func (w *worker) find(seg packet.Segment, now time.Duration) (*entry, faults.Direction) {
	if e, dir := w.flows.find(seg); e != nil || w.parked.n == 0 {
		return e, dir
	}
	src, dst := seg.SrcAddrPort(), seg.DstAddrPort()
	i, dir := w.parked.find(src, dst), faults.Original
	if i == 0 {
		i, dir = w.parked.find(dst, src), faults.Reply
	}
	if i == 0 {
		return nil, faults.Original
	}
	return w.unpark(i, now), dir
}

func (w *worker) unpark(i uint32, now time.Duration) *entry {
	n := w.adjusted.Load()
	e := w.parked.unpark(i, w.rules, w.seed)
	e.adjustedAt = n
	w.addFlow(e, now)
	return e
}

// addFlow puts a flow among those that are not parked.
func (w *worker) addFlow(e *entry, now time.Duration) {
	if n := w.flows.add(e, now); n > 0 {
		w.totals.forgotten.Add(uint64(n))
	}
}

// unparkDue wakes the flows whose alarms are due.
func (w *worker) unparkDue(now time.Duration) {
	for range parkBatch {
		at, ok := w.parked.nextAlarm()
		if !ok || at > now {
			return
		}
		if i := w.parked.alarms.Pop().flow; w.parked.at(i).wakeAt <= now {
			w.wakeFlow(w.unpark(i, now), now)
		}
	}
}
