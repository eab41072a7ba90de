package faults

import (
	"math/rand/v2"
	"time"

	"github.com/faultctl/faultctl/faults/packet"
)

// A Fault decides the fate of the segments of one flow.
//
// OnSegment is called for every segment that is handed over, in queue order
// and never by two goroutines at once, so a Fault keeps its state in plain
// fields. It must return at once, must keep nothing that it is handed, and takes
// time and chance only from ev: the same events always lead to the same
// verdicts.
type Fault interface {
	OnSegment(ev *Event, out *Effects) Verdict
}

// A Waker is a Fault that must also act when nothing arrives: an idle expiry
// that resets both ends, a stall that ends by itself.
//
// OnWake is called once for each [Effects.Wake], not before the time asked
// for, under the same rules as OnSegment. ev.Seg is the zero Segment and
// ev.Idle says how long the kernel has seen nothing of the flow.
type Waker interface {
	OnWake(ev *Event, out *Effects)
}

// A Model is a fault's configuration: a struct whose exported fields are the
// fault's knobs (see [Knobs]). Nothing in this package changes a model, so one
// may serve several rules and several runs, one after the other or at once.
type Model interface {
	// Validate reports the first knob that is wrong, or nil. It only judges:
	// it may be called any number of times, and nothing depends on its call.
	Validate() error

	// Diverts says which segments the kernel must hand over. The model must be
	// valid.
	Diverts() Diversion

	// Start puts the fault in force. It is called once whenever a rule starts;
	// what it returns has a copy of the model and shares nothing with what any
	// other call returns. The model must be valid.
	Start() Instance
}

// burier is a Fault that may have left a server's socket open which its client takes
// for dead. bury is called when a new connection takes its addresses and ports, and
// closes that socket, which would answer the new SYN (RFC 5961 section 4).
type burier interface {
	bury(ev *Event, out *Effects)
}

// pathFault is a Fault of the path between the ends, which reads no checksum: it is
// asked about damaged segments too.
type pathFault interface{ onPath() }

// An Instance is a fault in force: one model in one rule of one run. Whatever
// the flows of the rule share, such as the backlog of a listener, is here.
type Instance interface {
	// New makes the Fault for one flow. It may be called by several goroutines
	// at once.
	New() Fault
}

// PerFlow is an Instance whose flows share nothing but their settings.
type PerFlow func() Fault

// New implements Instance.
func (f PerFlow) New() Fault { return f() }

// StartAll starts each model, in their order.
func StartAll(models []Model) []Instance {
	is := make([]Instance, len(models))
	for i, m := range models {
		is[i] = m.Start()
	}
	return is
}

// Verdict is what happens to the segment that was looked at.
type Verdict uint8

// The verdicts. The zero value is the harmless one.
const (
	Pass   Verdict = iota // no opinion: ask the next fault; the last Pass is an Accept
	Accept                // let it through, ask no other fault
	Drop                  // it is never seen again: real loss to both TCPs
)

func (v Verdict) String() string {
	return [...]string{"pass", "accept", "drop"}[min(v, Drop)]
}

// Event is one segment, or one wake-up, as a Fault sees it. It is reused for
// the next one.
type Event struct {
	At   time.Duration  // since the rules went in; never decreases
	Dir  Direction      // which way Seg travels; meaningless on a wake-up
	Seg  packet.Segment // the zero Segment on a wake-up
	Flow *Flow          // what is known of the connection, Seg included

	// Fresh says that Seg carries sequence numbers that its side had not sent
	// before: it is no retransmission, no probe and no bare ACK.
	Fresh bool

	// Idle is set on a wake-up of a fault that diverts idle flows: the time
	// since the kernel last saw a segment that counts. Zero if unknown.
	Idle time.Duration

	// Busy says that the kernel has seen a segment that counts more recently than
	// Diversion.Idle: this one was handed over for another reason. It is set only
	// if user space has not seen one since.
	Busy bool

	// Damaged says that a checksum of Seg is known to be wrong, so that its receiver
	// discards it unread (tcp_v4_rcv, tcp_v6_rcv). Only faults of the path, which treat
	// all segments alike, are asked about it; Flow does not include it.
	Damaged bool

	// Rand is this connection's own chance, seeded from the run's seed and
	// the connection's ordinal within its rule, so that a run repeats although
	// ephemeral ports and goroutine order differ.
	Rand *rand.Rand
}

// Diversion says which segments of a matching flow the kernel must hand over.
// Everything else stays in the kernel: the zero value diverts nothing. A flow
// that a fault has captured is diverted whole, whatever its Diversion says; one
// that it has released is not diverted at all until its next SYN.
type Diversion struct {
	SYN    bool // SYN without ACK
	SYNACK bool // SYN with ACK
	FIN    bool // FIN, whatever other flags are set
	RST    bool // RST, whatever other flags are set
	Small  bool // at most one byte of payload and no SYN, FIN or RST: as keepalive probes and bare ACKs have
	All    bool // every segment

	// Above diverts packets with more bytes than this, IP header included, and
	// super-packets that the kernel has yet to segment. Zero means not at all.
	Above int

	// Idle diverts the first segment of a flow, and then the first after the
	// flow was silent for at least this long. Zero means not at all.
	Idle    time.Duration
	Refresh Refresh // what counts as not silent; only with Idle

	// Whole hands over the payload too: the fault reads it, quotes it, changes
	// a segment that keeps it, or delays the segment. Otherwise the copy may
	// end after the headers, which is enough to drop a segment or to replace it by
	// one without payload.
	Whole bool

	// NoCapture says that the fault never asks for a flow whole (Effects.Capture),
	// so the kernel need not look each packet up among the captured flows.
	NoCapture bool

	// Holds says that the fault holds back (Effects.Delay) most of the segments that
	// are handed over, rather than one now and then.
	Holds bool

	// Super says that the fault can judge a packet that stands for several
	// segments, which the host would segment only later (GSO). Otherwise each
	// segment is handed over by itself, as on a wire.
	Super bool
}

// Refresh says which segments keep an idle timer from expiring, as a device
// on the path would see it.
type Refresh struct {
	From       Side // whose segments count; the zero value means both
	MinPayload int  // segments with fewer bytes of payload do not count; 0, 1 or 2
}

// Counts reports whether a segment refreshes the timer.
func (r Refresh) Counts(dir Direction, payload int) bool {
	return r.From.Includes(dir.From()) && payload >= r.MinPayload
}

// Together returns what must be handed over for models that share a flow. SYNs are
// always included: a SYN begins a flow, and tells a new connection from an old one
// on the same addresses and ports.
func Together(models ...Model) Diversion {
	d := Diversion{SYN: true, NoCapture: true, Super: true}
	for _, m := range models {
		d = d.Union(m.Diverts())
	}
	return d
}

// Union returns the diversion that hands over what either of d and o does.
// Where both divert idle flows the shorter time wins, and of two sizes the
// smaller. Super-packets are handed over whole only if both can judge them.
func (d Diversion) Union(o Diversion) Diversion {
	u := Diversion{
		SYN:    d.SYN || o.SYN,
		SYNACK: d.SYNACK || o.SYNACK,
		FIN:    d.FIN || o.FIN,
		RST:    d.RST || o.RST,
		Small:  d.Small || o.Small,
		All:    d.All || o.All,
		Idle:   d.Idle, Refresh: d.Refresh,
		Whole:     d.Whole || o.Whole,
		NoCapture: d.NoCapture && o.NoCapture,
		Holds:     d.Holds || o.Holds,
		Super:     d.Super && o.Super,
	}
	if u.Above = d.Above; o.Above != 0 && (u.Above == 0 || o.Above < u.Above) {
		u.Above = o.Above
	}
	if o.Idle != 0 && (u.Idle == 0 || o.Idle < u.Idle) {
		u.Idle, u.Refresh = o.Idle, o.Refresh
	}
	return u
}
