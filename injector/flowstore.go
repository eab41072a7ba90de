package injector

import (
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/outcomes"
)

// flowStore is the connections that a worker knows. Those that have been quiet while
// the kernel lets them pass are parked: a million of them take 240 MB that the garbage
// collector does not scan. The quietest are forgotten first: after days, or sooner if
// there are very many, which is counted. Of the active ones those leave first that are
// closed, and then those whose handshake has not been seen to end.
//
// An entry is valid until its flow is parked or forgotten (entry.deleted). It belongs to
// one worker.
type flowStore struct {
	run    *shared
	flows  *flowTable   // active
	parked *parkedFlows // find, due and unpark make them active again
	idle   idleQueue    // active flows that may be parked soon

	putAway func(*entry) // is called for each flow that is about to be parked; nil: it is not
}

func newFlowStore(run *shared) flowStore {
	s := flowStore{run: run, flows: newFlowTable(), parked: newParkedFlows()}
	s.flows.keepOver = run.judges // what the application does later still counts
	return s
}

// rank notes how far a flow has come, after one of its segments was judged.
func (s *flowStore) rank(e *entry) { s.flows.stands(e, e.standing(s.run.waits.Load())) }

// find returns the flow that the segment belongs to, unparked, and the direction of
// the segment; nil if it is not known.
func (s *flowStore) find(seg packet.Segment, now time.Duration) (*entry, faults.Direction) {
	if e, dir := s.flows.find(seg); e != nil || s.parked.n == 0 {
		return e, dir
	}
	src, dst := seg.SrcAddrPort(), seg.DstAddrPort()
	i, dir := s.parked.find(src, dst), faults.Original
	if i == 0 {
		i, dir = s.parked.find(dst, src), faults.Reply
	}
	if i == 0 {
		return nil, faults.Original
	}
	return s.unpark(i, now), dir
}

// add puts a flow among those that are not parked.
func (s *flowStore) add(e *entry, now time.Duration) {
	e.stands = e.standing(s.run.waits.Load())
	if n := s.flows.add(e, now); n > 0 {
		s.run.totals.forgotten.Add(uint64(n))
	}
}

// quiet notes that the kernel lets the flow pass from now on, if it does: then the flow
// may be parked soon.
func (s *flowStore) quiet(f *entry, now time.Duration) {
	if !f.queued && !f.captured && (f.released || s.run.waits.Load()) {
		s.idle.put(f, now)
	}
}

// parkNext parks the next flow that has been quiet for long enough, and reports false
// if there is none. It returns a flow that cannot be parked, whose alarm must then be
// scheduled.
func (s *flowStore) parkNext(now time.Duration) (stays *entry, more bool) {
	f := s.idle.take(now)
	switch {
	case f == nil:
		return nil, false
	case f.deleted:
	case now-f.last < parkAfter:
		s.idle.put(f, now)
	case !s.park(f, now) && f.chain != nil:
		return f, true
	}
	return nil, true
}

// due unparks the next flow whose alarm is due and returns it, or nil if there is none.
// It looks at a few alarms at most.
func (s *flowStore) due(now time.Duration) *entry {
	for range parkBatch {
		at, ok := s.parked.nextAlarm()
		if !ok || at > now {
			return nil
		}
		if i := s.parked.alarms.Pop().flow; s.parked.at(i).wakeAt <= now {
			return s.unpark(i, now)
		}
	}
	return nil
}

// park parks a flow, and reports whether it could. It cannot if the outcome of a strike
// is open, a packet is held, an alarm is in the heap, a random number has been drawn,
// or the state of its fault does not fit into a word.
func (s *flowStore) park(f *entry, now time.Duration) bool {
	asleep := faults.Parked{WakeAt: faults.Never}
	switch {
	case f.outcome.Open():
		return false
	case f.captured || f.timer != faults.Never || f.due[faults.Original] > now || f.due[faults.Reply] > now || f.turns != [2]int{}:
		return false
	case f.chain == nil:
		if !f.released || len(f.asked) > 1 {
			return false
		}
	case f.alias.known: // a record has no room for the other name
		return false
	default:
		ok := len(s.run.rules[f.rule].faults) == 1 && *f.pcg == *pcg(s.run.seed, f.rule, f.nth, 1)
		if ok {
			asleep, ok = f.chain.Park()
		}
		if !ok {
			return false
		}
	}
	if s.putAway != nil {
		s.putAway(f)
	}
	s.parked.park(f, asleep)
	s.flows.detach(f)
	for {
		quiet := time.Duration(centiseconds(now)-s.parked.at(s.parked.seen.Oldest()).last) * 10 * time.Millisecond
		if !s.parked.capacity.forgets(s.parked.n, quiet) {
			return true
		}
		if quiet <= forgetAfter {
			s.run.totals.forgotten.Add(1)
		}
		s.parked.free(s.parked.seen.Oldest())
	}
}

func (s *flowStore) unpark(i uint32, now time.Duration) *entry {
	n := s.run.adjusted.Load()
	last := time.Duration(s.parked.at(i).last) * 10 * time.Millisecond
	e := s.parked.unpark(i, s.run.rules, s.run.seed)
	e.adjustedAt = n
	if e.chain != nil && e.fired == 0 {
		e.outcome = outcomes.Resume(e, &e.Flow, last)
	}
	s.add(e, now)
	e.last = last // it is not seen only because it wakes
	return e
}
