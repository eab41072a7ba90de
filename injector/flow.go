package injector

import (
	"math"
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

	chain *faults.Chain // nil: the flow was not chosen, or must be left alone
	links []*counters   // the counters of the faults of the chain, in the same order
	rng   *rand.Rand
	pcg   *rand.PCG // the source of rng
	rule  int       // the first rule that chose it
	nth   uint64    // its ordinal within that rule

	// What the rules said when they were asked. A flow that no rule chose is asked about
	// again after they have changed; one that a rule had chosen, after a pause.
	asked      []ordinal
	askedAt    uint32 // shared.changes at that time
	dials      bool   // it may belong to one of the tries, and has not been seen to be open
	openBefore bool   // the first segment that was seen was not a SYN

	fresh    bool // its first SYN must still clear the kernel's sets
	captured bool // it is so in the kernel's sets; likewise released
	released bool
	toldAt   time.Duration // when the kernel was last told that it is released

	prompted bool // Injector.Strike was called, and no packet has come since
	spared   bool // Injector.Spare was called: no rule strikes it

	fired      uint64            // bit i: fault i of the chain has acted on it
	due        [2]time.Duration  // when the last held segment of each direction leaves
	turns      [2]int            // how many held packets of each direction none may overtake
	timer      time.Duration     // the earliest alarm in the worker's heap, or faults.Never
	mark       [2]uint32         // of its last packet in each direction, for what we send
	marked     [2]bool           // such a packet has been seen
	iface      uint32            // of its last packet
	last       time.Duration     // when it was last seen
	before     time.Duration     // when it was seen before that; the same for the SYN that begins it
	seen       lru.Links[*entry] // its place in the order of last, among those that stand as it does
	stands     standing          // how far it has come
	reset      bool              // its last segment was a RST, and went by
	deleted    bool
	queued     bool   // it waits in the worker's idleQueue
	others     bool   // other rules than the one that chose it were asked too
	adjustedAt uint32 // shared.adjusted when the chain got its settings
	gso        gsoState
	outcome    *outcomes.Conn // what came of strikes; nil: it is not watched
	signed     bool           // its segments are signed (TCP-MD5, TCP-AO)
	alias      alias

	// superseded: a new connection has taken its addresses and ports, and clears the
	// sets itself.
	superseded bool
}

// ordinal is the number of a connection among those that a rule matches.
type ordinal struct {
	rule   int
	nth    uint64
	chosen bool // by the rule
	spared bool // it was chosen, and counted so, before it was spared
}

// ordinalOf returns the number of the flow within a rule that has been asked. e may be
// nil.
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

// chosenBy returns what is known of the answers of the rules about a flow that was
// parked. A parked flow keeps the ordinal only within the rule that chose it. Other
// rules that were asked have counted the flow, and must not count it again.
func chosenBy(rule int, nth uint64, others bool, rules int) []ordinal {
	said := []ordinal{{rule: rule, nth: nth, chosen: true}}
	for i := 0; others && i < rules; i++ {
		if i != rule {
			said = append(said, ordinal{rule: i, nth: noOrdinal})
		}
	}
	return said
}

// note records what a rule said.
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

// releaseAgain is how long after its release a flow may still be handed over because
// its packets were already under way.
const releaseAgain = time.Second

// release reports whether the kernel must be told that the flow is released: it has not
// been told, or it has forgotten that and hands over the flow again.
func (e *entry) release(now time.Duration) bool {
	if e.released && now-e.toldAt < releaseAgain {
		return false
	}
	e.released, e.toldAt = true, now
	return true
}

// route records how a packet of the flow was routed.
func (e *entry) route(dir faults.Direction, mark, iface uint32) {
	e.mark[dir], e.marked[dir], e.iface = mark, true, iface
}

// markTo returns the mark that packets to that end carry, so that what we send is
// routed like the flow itself. The two directions may have different marks, because
// what arrives does not carry the socket's mark. If that direction has not been seen,
// the mark of the other one is the best guess.
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

// noOrdinal stands for the ordinal of a connection that is not counted.
const noOrdinal = math.MaxUint64

// chance is the random source of one connection of a rule, for one purpose:
// 0 to choose it, 1 for its faults.
func chance(seed uint64, rule int, nth, purpose uint64) *rand.Rand {
	return rand.New(pcg(seed, rule, nth, purpose))
}

func pcg(seed uint64, rule int, nth, purpose uint64) *rand.PCG {
	return rand.NewPCG(seed^uint64(rule)<<56^purpose<<48, nth)
}
