package injector

import (
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/lru"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
)

const (
	maxFlows = 1 << 20 // flows a worker remembers of each sort; beyond that it forgets the quietest
	fewFlows = 1 << 17 // so many it remembers for rememberFor

	// rememberFor is how long a worker remembers a flow that it sees nothing of,
	// while there are few: as long as conntrack does (established, by default).
	// A flow whose fault waits may be busy all the time, and the first keepalive
	// probe to a peer that is gone comes after two hours.
	rememberFor = 5 * 24 * time.Hour

	// forgetAfter is how long it does when there are more. It outlasts the
	// kernel's memory of released flows, so that a flow that comes back is known
	// to have been let go.
	forgetAfter = 2 * ruleset.ReleasedFor
)

// capacity is how many flows are remembered, see fewFlows and maxFlows.
type capacity struct{ few, most int }

// forgets reports whether the one of n flows that was quiet for the longest is to
// be forgotten.
func (r capacity) forgets(n int, quiet time.Duration) bool {
	return n > r.most || quiet > rememberFor || n > r.few && quiet > forgetAfter
}

// flowTable finds flows by their addresses and forgets the quietest first. It
// belongs to one worker.
type flowTable struct {
	flows    map[flowKey]*entry
	seen     lru.List[*entry] // by when they were last seen
	capacity capacity

	// forgotten is told of each entry that leaves, if it is not nil.
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

// add puts in a flow and forgets what has been quiet for too long. It returns how
// many it forgot before their time, for want of room.
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

// detach takes e out: it is known elsewhere.
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
