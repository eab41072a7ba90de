package injector

import (
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/lru"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
)

const (
	maxFlows = 1 << 20 // active flows, and parked flows, that a worker remembers; beyond that it forgets the one that has been quiet longest
	fewFlows = 1 << 17 // up to this many it remembers for rememberFor

	// rememberFor is how long a worker remembers a flow whose packets it does not see,
	// while there are few flows: as long as conntrack remembers an established
	// connection by default. A flow whose fault waits may be busy all the time, and the
	// first keepalive probe to a dead peer is sent after two hours.
	rememberFor = 5 * 24 * time.Hour

	// forgetAfter is how long it remembers a flow when there are more: longer than the
	// kernel remembers released flows, so that a flow that comes back is known to have
	// been released.
	forgetAfter = 2 * ruleset.ReleasedFor
)

// capacity is how many flows are remembered, see fewFlows and maxFlows.
type capacity struct{ few, most int }

// forgets reports whether the flow that has been quiet longest, of n flows, must be
// forgotten.
func (r capacity) forgets(n int, quiet time.Duration) bool {
	return n > r.most || quiet > rememberFor || n > r.few && quiet > forgetAfter
}

// flowTable finds flows by their addresses, and forgets those first that have been
// quiet longest. It belongs to one worker.
type flowTable struct {
	flows    map[flowKey]*entry
	seen     lru.List[*entry] // in the order in which they were last seen
	capacity capacity

	// forgotten is called for each entry that is removed, if it is not nil.
	forgotten func(*entry)
}

func newFlowTable() *flowTable {
	return &flowTable{
		flows: make(map[flowKey]*entry), capacity: capacity{fewFlows, maxFlows},
		seen: lru.New(func(e *entry) *lru.Links[*entry] { return &e.seen }),
	}
}

// find returns the flow that s belongs to and the direction of s, or nil.
func (t *flowTable) find(s packet.Segment) (*entry, faults.Direction) {
	src, dst := s.SrcAddrPort(), s.DstAddrPort()
	if e := t.flows[flowKey{src, dst}]; e != nil {
		return e, faults.Original
	}
	if e := t.flows[flowKey{dst, src}]; e != nil {
		return e, faults.Reply
	}
	return nil, faults.Original
}

// add adds a flow and forgets flows that have been quiet for too long. It returns
// how many it forgot early because the table was full.
func (t *flowTable) add(e *entry, now time.Duration) (crowded int) {
	t.flows[flowKey{e.Client, e.Server}] = e
	e.last = now
	t.seen.Add(e)
	for oldest := t.seen.Oldest(); oldest != nil && t.capacity.forgets(len(t.flows), now-oldest.last); oldest = t.seen.Oldest() {
		if now-oldest.last <= forgetAfter {
			crowded++
		}
		t.remove(oldest)
	}
	return crowded
}

// touch notes that e was seen.
func (t *flowTable) touch(e *entry, now time.Duration) {
	e.last = now
	t.seen.Use(e)
}

// detach removes e without calling forgotten, because e is kept elsewhere.
func (t *flowTable) detach(e *entry) {
	delete(t.flows, flowKey{e.Client, e.Server})
	t.seen.Remove(e)
	e.deleted = true
}

// remove forgets e.
func (t *flowTable) remove(e *entry) {
	t.detach(e)
	if t.forgotten != nil {
		t.forgotten(e)
	}
}
