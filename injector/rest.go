package injector

import (
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
)

const (
	// restAfter is how long a flow must be quiet before it is put away: the
	// packets that were under way when the kernel began to let it pass do not
	// each wake it again.
	restAfter = 100 * time.Millisecond

	// restBatch is how many flows are put away, or woken by their alarms, before
	// the worker looks at its queue again.
	restBatch = 64
)

// waiting is the flows that may be put away soon, in the order in which they
// were put here.
type waiting struct {
	flows []tiredFlow
	first int
}

type tiredFlow struct {
	flow *entry
	at   time.Duration
}

func (q *waiting) len() int { return len(q.flows) - q.first }

func (q *waiting) put(f *entry, now time.Duration) {
	f.resting = true
	q.flows = append(q.flows, tiredFlow{f, now})
}

// next returns when the first flow will have been here for restAfter, and false
// if there is none.
func (q *waiting) next() (time.Duration, bool) {
	if q.len() == 0 {
		return 0, false
	}
	return q.flows[q.first].at + restAfter, true
}

// take returns the first flow that has been here for restAfter, or nil.
func (q *waiting) take(now time.Duration) *entry {
	if q.len() == 0 || now-q.flows[q.first].at < restAfter {
		return nil
	}
	f := q.flows[q.first].flow
	q.flows[q.first] = tiredFlow{}
	q.first++
	if q.first > 2*restBatch && 2*q.first > len(q.flows) {
		q.flows = append(q.flows[:0], q.flows[q.first:]...)
		q.first = 0
	}
	f.resting = false
	return f
}

// tired notes that the kernel lets the flow pass from here on, and sees to its
// next alarm: a flow that is put away will have it in its record.
func (w *worker) tired(f *entry, now time.Duration) {
	if !f.resting && !f.captured && (f.released || w.waits) {
		w.resting.put(f, now)
	}
	if f.chain != nil && (!f.resting || f.chain.NextWake() <= now+time.Second) {
		w.schedule(f)
	}
}

// rest puts away flows that have been quiet for long enough.
func (w *worker) rest(now time.Duration) {
	for range restBatch {
		f := w.resting.take(now)
		switch {
		case f == nil:
			return
		case f.deleted:
		case now-f.last < restAfter:
			w.resting.put(f, now)
		case !w.sleep(f, now) && f.chain != nil:
			w.schedule(f)
		}
	}
}

// sleep puts a flow away, and reports whether it could: what is held of it, an
// alarm in the heap, chance that was drawn, or a fault that has more to remember
// than a word keep it awake.
func (w *worker) sleep(f *entry, now time.Duration) bool {
	asleep := faults.Parked{WakeAt: faults.Never}
	switch {
	case f.captured || f.timer != faults.Never || f.due[faults.Original] > now || f.due[faults.Reply] > now || f.turns != [2]int{}:
		return false
	case f.chain == nil:
		if !f.released || len(f.asked) > 1 {
			return false
		}
	default:
		ok := len(w.rules[f.rule].Faults) == 1 && *f.pcg == *pcg(w.seed, f.rule, f.nth, 1)
		if ok {
			asleep, ok = f.chain.Park()
		}
		if !ok {
			return false
		}
	}
	w.asleep.sleep(f, asleep)
	w.flows.leave(f)
	for {
		quiet := time.Duration(centiseconds(now)-w.asleep.at(w.asleep.oldest).last) * 10 * time.Millisecond
		if !w.asleep.room.forgets(w.asleep.n, quiet) {
			return true
		}
		if quiet <= forgetAfter {
			w.totals.forgotten.Add(1)
		}
		w.asleep.give(w.asleep.oldest)
	}
}

// waits reports whether the kernel lets the flows of all rules pass until
// something happens. Otherwise a flow that was put away would wake at once.
func waits(rules []Rule) bool {
	for i := range rules {
		if d := diversion(rules[i].Faults); d.All || d.Small || d.Above != 0 {
			return false
		}
	}
	return true
}

// mixed reports whether segments of flows that the kernel watches for being idle
// may be handed over for other reasons.
func mixed(rules []Rule) bool {
	var all faults.Diversion
	for i := range rules {
		all = all.Union(diversion(rules[i].Faults))
	}
	return all.Idle != 0 && (all.SYNACK || all.FIN || all.RST || all.Small || all.Above != 0)
}

// busy reports whether the kernel has lately let segments of the flow pass that
// keep it from being idle. It is asked only about a flow that the worker has seen
// nothing of for that long.
func (w *worker) busy(f *entry, now time.Duration) bool {
	for _, c := range f.links {
		after := w.rules[c.rule].idle
		if after != 0 && now-f.before >= after && w.sets.idle(c.rule, flowKey{f.Client, f.Server}) < after {
			return true
		}
	}
	return false
}

// find returns the flow that the segment belongs to, awake, and the direction of
// the segment; nil if it is not known.
func (w *worker) find(seg packet.Segment, now time.Duration) (*entry, faults.Direction) {
	if e, dir := w.flows.find(seg); e != nil || w.asleep.n == 0 {
		return e, dir
	}
	src, dst := seg.SrcAddrPort(), seg.DstAddrPort()
	i, dir := w.asleep.find(src, dst), faults.Original
	if i == 0 {
		i, dir = w.asleep.find(dst, src), faults.Reply
	}
	if i == 0 {
		return nil, faults.Original
	}
	return w.wake(i, now), dir
}

func (w *worker) wake(i uint32, now time.Duration) *entry {
	e := w.asleep.wake(i, w.rules, w.seed)
	w.know(e, now)
	return e
}

// know puts a flow among those that are awake.
func (w *worker) know(e *entry, now time.Duration) {
	if n := w.flows.add(e, now); n > 0 {
		w.totals.forgotten.Add(uint64(n))
	}
}

// runAlarms wakes the flows whose alarms are due.
func (w *worker) runAlarms(now time.Duration) {
	for range restBatch {
		at, ok := w.asleep.alarms.next()
		if !ok || at > now {
			return
		}
		if i := w.asleep.alarms.take(); w.asleep.at(i).wakeAt <= now {
			w.wakeFlow(w.wake(i, now), now)
		}
	}
}
