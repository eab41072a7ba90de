package injector

import (
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/lru"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
)

// How many flows a run remembers. Its workers share the room evenly. docs/SAFETY.md says
// what that comes to in bytes.
const (
	maxActive  = 1 << 18 // active flows
	maxOpening = 1 << 16 // of these, those whose handshake has not been seen to end
	maxOver    = 1 << 15 // and those that are closed
	maxParked  = 1 << 20 // parked flows
	maxStruck  = 1 << 14 // flows whose outcome is open, for up to 3 s, and again as many that wait longer
	fewFlows   = 1 << 17 // up to so many of either kind are remembered for rememberFor

	// overFor is how long a closed connection is remembered: as long as conntrack
	// remembers one in TIME_WAIT by default. Until then a segment that was sent again
	// does not count as one of a new connection.
	overFor = 2 * time.Minute

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

// capacity is how many flows are remembered, see fewFlows.
type capacity struct{ few, most, opening, over int }

// activeRoom and parkedRoom are the capacities of one of so many workers.
func activeRoom(workers int) capacity {
	return capacity{fewFlows / workers, maxActive / workers, maxOpening / workers, maxOver / workers}
}

func parkedRoom(workers int) capacity {
	return capacity{few: fewFlows / workers, most: maxParked / workers}
}

// forgets reports whether the flow that has been quiet longest, of n flows, must be
// forgotten.
func (r capacity) forgets(n int, quiet time.Duration) bool {
	return n > r.most || quiet > rememberFor || n > r.few && quiet > forgetAfter
}

// standing is how far a flow has come. Where there is no room, flows are forgotten in
// this order.
type standing uint8

const (
	over     standing = iota // both ends have closed it, or a RST has
	opening                  // its handshake has not been seen to end: anybody can forge a SYN
	underway                 // all others
	standings
)

// standing is how far the flow has come by what was seen of it. waits says that the
// kernel lets flows pass which were not told to it.
func (e *entry) standing(waits bool) standing {
	client, server := &e.Half[faults.Original], &e.Half[faults.Reply]
	switch {
	case e.reset || client.Ended() && server.Ended():
		return over
	case e.released || waits: // the end of the handshake is not handed over
		return underway
	case client.Seen && server.Seen && (e.Midstream || server.SYN && client.HasAck && server.ISN.Less(client.Ack)):
		return underway
	}
	return opening
}

// flowTable finds flows by their addresses, and forgets those first that have been
// quiet longest. It belongs to one worker.
type flowTable struct {
	flows    map[flowKey]*entry
	seen     [standings]lru.List[*entry] // in the order in which they were last seen
	n        [standings]int
	capacity capacity
	keepOver bool // closed flows are not forgotten because of their age

	// forgotten is called for each entry that is removed, if it is not nil.
	forgotten func(*entry)
}

func newFlowTable() *flowTable {
	t := &flowTable{flows: make(map[flowKey]*entry), capacity: activeRoom(1)}
	for s := range t.seen {
		t.seen[s] = lru.New(func(e *entry) *lru.Links[*entry] { return &e.seen })
	}
	return t
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
// how many it forgot early because the table was full; those that are closed are not
// among them.
func (t *flowTable) add(e *entry, now time.Duration) (crowded int) {
	t.flows[flowKey{e.Client, e.Server}] = e
	e.last = now
	t.seen[e.stands].Add(e)
	t.n[e.stands]++
	for old := t.leaves(e, now); old != nil; old = t.leaves(e, now) {
		if old.stands != over && now-old.last <= forgetAfter {
			crowded++
		}
		t.remove(old)
	}
	return crowded
}

// leaves returns a flow that must be forgotten to make room for another one, or nil.
func (t *flowTable) leaves(other *entry, now time.Duration) *entry {
	crowded := len(t.flows) > t.capacity.most
	for s := range t.seen {
		old := t.seen[s].Oldest()
		if old == nil || old == other {
			continue
		}
		quiet := now - old.last
		switch {
		case crowded, t.capacity.forgets(len(t.flows), quiet):
			return old
		case s == int(over) && (t.n[s] > t.capacity.over || quiet > overFor && !t.keepOver):
			return old
		case s == int(opening) && t.n[s] > t.capacity.opening:
			return old
		}
	}
	return nil
}

// touch notes that e was seen.
func (t *flowTable) touch(e *entry, now time.Duration) {
	e.last = now
	t.seen[e.stands].Use(e)
}

// stands notes how far e has come.
func (t *flowTable) stands(e *entry, s standing) {
	if s == e.stands || e.deleted {
		return
	}
	t.seen[e.stands].Remove(e)
	t.n[e.stands]--
	e.stands = s
	t.seen[s].Add(e)
	t.n[s]++
}

// detach removes e without calling forgotten, because e is kept elsewhere.
func (t *flowTable) detach(e *entry) {
	delete(t.flows, flowKey{e.Client, e.Server})
	t.seen[e.stands].Remove(e)
	t.n[e.stands]--
	e.deleted = true
}

// remove forgets e.
func (t *flowTable) remove(e *entry) {
	t.detach(e)
	if t.forgotten != nil {
		t.forgotten(e)
	}
}
