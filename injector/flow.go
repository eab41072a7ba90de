package injector

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/lru"
	"github.com/faultctl/faultctl/injector/internal/outcomes"
)

// flowKey names a connection by its ends.
type flowKey struct{ client, server netip.AddrPort }

// entry is one flow that user space knows.
type entry struct {
	faults.Flow

	chain *faults.Chain // nil: the flow was not chosen, or is none of ours
	links []*counters   // the counters of the chain's faults, in its order
	rng   *rand.Rand
	pcg   *rand.PCG // behind rng
	rule  int       // the first rule that chose it
	nth   uint64    // its ordinal within that rule

	// What the rules said when they were asked. A flow that none chose is asked again
	// once they have changed, and one that was chosen before the run was paused.
	asked      []ordinal
	askedAt    uint32 // the count of changes then
	dials      bool   // it may belong to one of the tries, and was not seen to be open
	openBefore bool   // its very first segment seen was no SYN

	fresh    bool // its first SYN has yet to clear the kernel's sets
	captured bool // as the kernel's sets have it
	released bool
	toldAt   time.Duration // when the kernel was last told so

	fired      uint64            // bit i: fault i of the chain has acted on it
	due        [2]time.Duration  // when the last held segment of each direction leaves
	turns      [2]int            // how many of each direction are held that none overtakes
	timer      time.Duration     // the earliest alarm in the worker's heap, or faults.Never
	mark       [2]uint32         // of its last packet each way, for what we send
	marked     [2]bool           // such a packet was seen
	iface      uint32            // of its last packet
	last       time.Duration     // when it was last seen
	before     time.Duration     // when it was seen before that; of a SYN that begins it the same
	seen       lru.Links[*entry] // its place among those
	deleted    bool
	queued     bool   // it waits in the worker's idleQueue
	others     bool   // rules were asked besides the one that chose it
	adjustedAt uint32 // the count of adjusted whose settings the chain has
	gso        gsoState
	outcome    *outcomes.Conn // what strikes came to; nil: nobody wants to know
	signed     bool           // its segments are (TCP-MD5, TCP-AO)
	alias      alias

	// superseded: a new connection took its addresses and ports, and clears the
	// sets itself.
	superseded bool
}

// ordinal is the number of a connection among those that a rule matches.
type ordinal struct {
	rule   int
	nth    uint64
	chosen bool // by the rule, with that
}

// ordinalOf returns the number that the flow has within a rule that was asked
// before. e may be nil.
func (e *entry) ordinalOf(rule int) (o ordinal, known bool) {
	if e == nil {
		return ordinal{}, false
	}
	for _, o := range e.asked {
		if o.rule == rule {
			return o, true
		}
	}
	return ordinal{}, false
}

// chosenBy is what is known of what the rules said about a flow that was parked, which
// keeps the ordinal of the one that chose it. If others were asked they have counted the
// flow, and do not again.
func chosenBy(rule int, nth uint64, others bool, rules int) []ordinal {
	said := []ordinal{{rule, nth, true}}
	for i := 0; others && i < rules; i++ {
		if i != rule {
			said = append(said, ordinal{i, noOrdinal, false})
		}
	}
	return said
}

// note takes down what a rule said.
func (e *entry) note(o ordinal) {
	for i := range e.asked {
		if e.asked[i].rule == o.rule {
			e.asked[i] = o
			return
		}
	}
	e.asked = append(e.asked, o)
}

// armed reports whether a fault of the flow waits for an alarm.
func (e *entry) armed() bool { return e.chain != nil && e.chain.NextWake() != faults.Never }

// releaseAgain is how long after it was released a flow may still be handed over
// for what had been under way.
const releaseAgain = time.Second

// release reports whether the kernel must be told that the flow is released: it
// was not, or it has forgotten and hands the flow over again.
func (e *entry) release(now time.Duration) bool {
	if e.released && now-e.toldAt < releaseAgain {
		return false
	}
	e.released, e.toldAt = true, now
	return true
}

// route takes down where a packet of the flow goes.
func (e *entry) route(dir faults.Direction, mark, iface uint32) {
	e.mark[dir], e.marked[dir], e.iface = mark, true, iface
}

// markTo returns the mark that a packet to that end carries, so that what we
// send is routed as the flow itself. Marks may differ by direction: what arrives
// carries none of the socket's. Of a direction that was not seen the other one
// tells, as far as anything does.
func (e *entry) markTo(dst netip.AddrPort) uint32 {
	dir := faults.Original
	if dst == e.Client {
		dir = faults.Reply
	}
	if !e.marked[dir] {
		dir = dir.Flip()
	}
	return e.mark[dir]
}
