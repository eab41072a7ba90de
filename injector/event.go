package injector

import (
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/outcome"
)

// Event is something that happened in a run, see Config.OnEvent.
type Event struct {
	Time time.Time
	Kind EventKind

	Rule    int    // ordinal of the rule; not with Ready
	Fault   string // name of the fault; with Fired and Outcome
	Flow    Flow   // not with Ready
	Ordinal uint64 // the connection's ordinal within its rule, from 0

	Midstream bool // with Chosen: the connection was open before the run saw it

	Action faults.Action // with Fired, like the next two
	To     faults.Side
	Reason string

	Outcome outcome.Outcome // with Outcome
}

// EventKind is the kind of an event.
type EventKind uint8

// The events.
const (
	Ready   EventKind = iota // the rules are in: the very next matching packet is judged
	Chosen                   // a connection was chosen
	Fired                    // a fault acted
	Outcome                  // the outcome of a fault's strikes on a connection is settled
)

// Flow names a connection by its ends.
type Flow struct{ Client, Server string }

// Snapshot is the state of a run's counters at one moment.
type Snapshot struct {
	Rules    []RuleStats
	Diverted uint64    // packets that entered user space; of a GSO packet that is segmented there, each segment counts
	Overruns uint64    // packets that the kernel let pass because the queue was full
	Lost     uint64    // events lost because OnEvent was too slow
	Unseen   uint64    // packets not shown because OnPacket was too slow
	Unsent   uint64    // packets, forged or held, that the kernel refused to send: a firewall, no route, no address, or no memory
	Foreign  uint64    // diverted packets that were not whole TCP segments, and passed
	Cut      uint64    // packets that a fault could neither change nor copy, because the queue hands over at most 65531 bytes
	Shed     uint64    // packets that passed unjudged because a worker could not keep up: they are among Diverted
	Latency  Histogram // from when a packet came in to its verdict; of one that a fault holds back, how much later than the fault wanted it left

	// Each of the kernel's sets has room for 2^20 flows. A flow that finds no room is
	// neither lost nor held up. Except on old kernels these counters are complete only
	// when the run has ended.
	SetFull     uint64 // packets of flows without room in the idle set: judged by the clock of user space
	CaptureFull uint64 // packets of flows that a fault wanted whole, and saw only where the rules divert them anyway
	ReleaseFull uint64 // packets that entered user space although no fault wanted them any more
	OwnerFull   uint64 // new connections of an Owner that were not recognized, and never judged

	// Forgotten counts connections that were forgotten before they had been quiet for
	// two hours, because there were too many: see docs/SAFETY.md. At its next packet such
	// a connection is a new one with another ordinal, and its faults know nothing of its
	// past. Connections that were closed are not counted.
	Forgotten uint64

	// SettledEarly counts outcomes that were settled before all was known that could have
	// been, because too many connections had been struck within a few seconds.
	SettledEarly uint64

	// Signed counts connections that were left alone because their segments are signed
	// (TCP-MD5, TCP-AO), and the fault would have sent a segment of its own.
	Signed uint64
}

// Plus returns the sum of the snapshots of two runs of the same rules. If one of them
// has no rules, the sum has those of the other. Faults are matched by position, not by
// name.
func (s Snapshot) Plus(o Snapshot) Snapshot {
	sum := Snapshot{
		Diverted: s.Diverted + o.Diverted, Overruns: s.Overruns + o.Overruns, Lost: s.Lost + o.Lost, Unseen: s.Unseen + o.Unseen, Unsent: s.Unsent + o.Unsent,
		Foreign: s.Foreign + o.Foreign, Cut: s.Cut + o.Cut, Shed: s.Shed + o.Shed, Latency: s.Latency.Plus(o.Latency), Forgotten: s.Forgotten + o.Forgotten, Signed: s.Signed + o.Signed, SettledEarly: s.SettledEarly + o.SettledEarly,
		SetFull: s.SetFull + o.SetFull, CaptureFull: s.CaptureFull + o.CaptureFull,
		ReleaseFull: s.ReleaseFull + o.ReleaseFull, OwnerFull: s.OwnerFull + o.OwnerFull,
	}
	if len(s.Rules) == 0 || len(o.Rules) == 0 {
		sum.Rules = append(s.Rules[:len(s.Rules):len(s.Rules)], o.Rules...)
		return sum
	}
	for i, r := range s.Rules {
		q := o.Rules[i]
		both := RuleStats{Flows: r.Flows + q.Flows, Chosen: r.Chosen + q.Chosen}
		for j, f := range r.Faults {
			g := q.Faults[j]
			both.Faults = append(both.Faults, FaultStats{
				Name: f.Name, Fired: f.Fired + g.Fired, Acted: f.Acted + g.Acted,
				Diverted: f.Diverted + g.Diverted, Dropped: f.Dropped + g.Dropped, Forged: f.Forged + g.Forged,
				Settled: f.Settled.Plus(g.Settled),
			})
		}
		sum.Rules = append(sum.Rules, both)
	}
	return sum
}

// Histogram counts durations in buckets.
type Histogram struct {
	Bounds []time.Duration // the upper bound of each bucket, inclusive; do not change
	Counts []uint64        // one more than Bounds: the last counts what is above all bounds
	Sum    time.Duration
	Max    time.Duration // the longest
}

// RuleStats counts what one rule did.
type RuleStats struct {
	Flows  uint64 // connections that matched
	Chosen uint64 // of those, chosen
	Faults []FaultStats
}

// FaultStats counts what one fault of a rule did.
type FaultStats struct {
	Name     string
	Fired    uint64 // connections on which it acted
	Acted    uint64 // times it acted
	Diverted uint64 // packets it was asked about
	Dropped  uint64
	Forged   uint64

	// Settled sums up the outcomes of its strikes, and why it did not strike: see
	// docs/VERDICTS.md. It is complete when the run has ended.
	Settled outcome.Tally
}

// Plus returns the sum of both histograms. They must have the same bounds, unless one
// of them has counted nothing.
func (h Histogram) Plus(o Histogram) Histogram {
	if len(h.Counts) < len(o.Counts) {
		h, o = o, h
	}
	counts := append([]uint64(nil), h.Counts...)
	for i, n := range o.Counts {
		counts[i] += n
	}
	return Histogram{Bounds: h.Bounds, Counts: counts, Sum: h.Sum + o.Sum, Max: max(h.Max, o.Max)}
}
