package injector

import (
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/outcome"
)

// Event is something that happened in a run, as Config.OnEvent is told.
type Event struct {
	Time time.Time
	Kind EventKind

	Rule    int    // ordinal of the rule; all but Ready
	Fault   string // name of the fault; Fired and Outcome
	Flow    Flow   // all but Ready
	Ordinal uint64 // the connection's ordinal within its rule, from 0

	Midstream bool // Chosen: the connection was open before

	Action faults.Action // Fired only, and so the following two
	To     faults.Side
	Reason string

	Outcome outcome.Outcome // Outcome only
}

// EventKind says which event it is.
type EventKind uint8

// The events.
const (
	Ready   EventKind = iota // the rules are in: the very next matching packet is judged
	Chosen                   // a connection was chosen
	Fired                    // a fault acted
	Outcome                  // what the strikes of a fault on a connection came to is known, or the run ends
)

// Flow names a connection by its ends.
type Flow struct{ Client, Server string }

// Snapshot is the state of a run's counters at one moment.
type Snapshot struct {
	Rules    []RuleStats
	Diverted uint64    // packets that entered user space, each segment counted of one that stands for several and is cut up there
	Overruns uint64    // packets the kernel let pass because the queue was full
	Lost     uint64    // events that OnEvent was too slow for
	Unseen   uint64    // packets that OnPacket was too slow for
	Unsent   uint64    // packets, forged or held, that the kernel did not take when they were to leave: a firewall, no route, no address, or no memory
	Foreign  uint64    // diverted packets that were no whole TCP segment: let pass
	Cut      uint64    // packets that a fault could neither change nor copy: the queue hands over 65531 bytes at most
	Shed     uint64    // packets that passed unjudged because a worker could not keep up: they are among Diverted
	Latency  Histogram // from when a packet came in to its verdict; of one that a fault holds back, how much later than the fault wanted it left

	// The kernel's sets hold 2^20 flows each, and take no more in. With none of
	// them a packet is lost or held up. All but on old kernels they are known when
	// the run has ended.
	SetFull     uint64 // packets of flows that found no room in the idle set, and were judged by user space's own clock
	CaptureFull uint64 // packets of flows that a fault wanted whole, and saw only where the rules divert them anyway
	ReleaseFull uint64 // packets of flows that no fault wanted any more, and that entered user space all the same
	OwnerFull   uint64 // new connections of an Owner that were not known to be its, and never judged

	// Forgotten counts connections that were not remembered until they had been
	// quiet for two hours, because there were more than a million: each is a new
	// one with its next packet, of another ordinal, and no fault was told.
	Forgotten uint64

	// Signed counts connections that a fault would have sent a segment of its own, and
	// that were left alone because theirs are signed (TCP-MD5, TCP-AO).
	Signed uint64
}

// Plus is the sum of two snapshots of runs of the same rules; of other rules if
// one has none. A fault's place counts, not its name.
func (s Snapshot) Plus(o Snapshot) Snapshot {
	sum := Snapshot{
		Diverted: s.Diverted + o.Diverted, Overruns: s.Overruns + o.Overruns, Lost: s.Lost + o.Lost, Unseen: s.Unseen + o.Unseen, Unsent: s.Unsent + o.Unsent,
		Foreign: s.Foreign + o.Foreign, Cut: s.Cut + o.Cut, Shed: s.Shed + o.Shed, Latency: s.Latency.Plus(o.Latency), Forgotten: s.Forgotten + o.Forgotten, Signed: s.Signed + o.Signed,
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
	Bounds []time.Duration // the upper end of each bucket, itself included; do not change
	Counts []uint64        // one more: the last one is beyond all bounds
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

	// Settled sums up what became of its strikes, and why it did not strike. It is
	// complete when the run has ended.
	Settled Settled
}

// Settled sums up the outcomes of the connections of one fault, and Prevented says what
// kept connections from meeting its moment: see docs/VERDICTS.md.
type (
	Settled   = outcome.Tally
	Prevented = outcome.Prevention
)
