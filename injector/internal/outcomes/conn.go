package outcomes

import (
	"net/netip"
	"slices"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/features"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/faults/packet"
	"golang.org/x/sys/unix"
)

// Flow is a connection as the engine knows it.
type Flow interface {
	// SocketEnds returns the addresses of the connection as the socket knows them that
	// sends in direction dir, if that socket is on this host.
	SocketEnds(dir faults.Direction) (local, remote netip.AddrPort)
}

// Conn is what is known of the strikes on one connection. It belongs to the worker of
// the connection. A nil Conn is one that nobody follows: every method of a Watcher that
// takes a Conn accepts it and does nothing.
type Conn struct {
	outcome.Tracker
	flow Flow

	by     uint64 // bit i: fault i of the chain struck
	probed uint64 // bit i: fault i of the chain sent a probe, and did nothing else

	struckAt time.Duration // of the first strike
	struck   bool
	fresh    bool // it was struck by the segment or alarm at hand
	settled  bool // its outcome has been added to the tallies
	finished bool // Finish was called
	alone    bool // MayStrike has said no
	again    bool // the request whose answer was lost was sent again
	whole    bool // all of its segments have been seen
	ended    bool // a RST or FIN of ours was sent
	asking   bool // it is in the queue of connections about which the kernel is asked
	signed   bool // its segments are signed (TCP-MD5, TCP-AO)

	ends [2]end // by the direction in which the end sends
}

// end is one end of a connection.
type end struct {
	meant  meant // the last segment that it was to accept
	local  bool  // it is a socket of this host
	sought bool  // the kernel was asked for the socket
	found  bool  // and had it: by these names, and not closed
	cookie uint64
}

// meant is something of ours that an end is to accept.
type meant struct {
	seq, ack packet.Seq
	kind     meantKind
	asked    askState
}

type meantKind uint8

const (
	aSegment meantKind = iota // neither RST nor FIN
	aFIN
	aRST
	anICMP // an error about the connection, which is no segment
)

// askState is whether the kernel is to be asked if a segment has left.
type askState uint8

const (
	askedEnough askState = iota
	askDue
	askUnseen // it was asked once, and the rules behind all others had not seen the segment
)

func meantBy(seg packet.Segment) meant {
	m := meant{seq: seg.Seq(), ack: seg.Ack()}
	switch flags := seg.Flags(); {
	case flags.Has(packet.RST):
		m.kind = aRST
	case flags.Has(packet.FIN):
		m.kind = aFIN
	}
	return m
}

// NewConn begins to follow a connection. whole says that all of its segments will be
// seen from the first on, signed that they are signed (TCP-MD5, TCP-AO).
func NewConn(f Flow, whole, signed bool) *Conn {
	return &Conn{flow: f, whole: whole, signed: signed}
}

// Resume follows a connection again that was parked, and seen last at that time. What
// its ends have sent is known, but not which of them sent last; what was outstanding
// counts as unseen.
func Resume(f Flow, known *faults.Flow, last time.Duration) *Conn {
	c := &Conn{flow: f}
	c.Unseen, c.Born, c.Last = true, known.Born, last
	for dir := range known.Half {
		h, peer := &known.Half[dir], &known.Half[1-dir]
		c.Half[dir] = features.Half{
			Bytes: h.Bytes, Next: h.Next, Acked: peer.Ack, HasAck: peer.HasAck, Passed: h.Passed, HasPass: h.HasPassed,
			Window: h.Window, Seen: h.Seen, SYN: h.SYN, FIN: h.FIN, LastData: last, LastACK: last,
		}
	}
	return c
}

// Open reports whether the connection was struck and its outcome is not settled.
func (c *Conn) Open() bool { return c != nil && c.struck && !c.settled }

// Finished reports whether Finish was called: the engine may drop the Conn.
func (c *Conn) Finished() bool { return c != nil && c.finished }

// ClosedBefore reports whether there was nothing that the faults could have struck.
func (c *Conn) ClosedBefore(at time.Duration) bool {
	if c == nil {
		return false
	}
	o := c.Outcome(at, faults.Both)
	return !o.Struck && o.Why == outcome.ClosedBefore
}

// follows reports whether there is anything left to find out.
func (c *Conn) follows() bool { return c != nil && !c.settled && !c.finished }

// outcome is the outcome as it is now. If a command is judged, the end that is the
// command's counts.
func (c *Conn) outcome(now time.Duration, judged bool) outcome.Outcome {
	switch {
	case !judged:
		return c.Outcome(now, faults.Both)
	case c.ends[faults.Reply].local && !c.ends[faults.Original].local:
		return c.OutcomeFor(now, faults.Server)
	}
	return c.OutcomeFor(now, faults.Client)
}

// met notes which ends are sockets of this host, by where a packet was seen.
func (c *Conn) met(hook uint8, byLoopback bool, dir faults.Direction) {
	switch hook {
	case unix.NF_INET_LOCAL_OUT:
		c.ends[dir].local = true
	case unix.NF_INET_LOCAL_IN:
		c.ends[dir.Flip()].local = true
		if byLoopback {
			c.ends[dir].local = true
		}
	}
}

// Decision is what the faults decided about a segment, or at an alarm.
type Decision struct {
	Verdict  faults.Verdict // faults.Pass at an alarm
	Fault    int            // the ordinal in the chain of the fault that decided; -1 if none did
	Observes bool           // that fault only observes: what it notes is no strike
	Effects  *faults.Effects
}

// Acts reports whether the faults do anything to the connection.
func (d *Decision) Acts() bool { return d.acts(d.fate()) }

func (d *Decision) acts(fate features.Fate) bool {
	return fate != features.Passed || len(d.Effects.Forged) > 0 || len(d.Effects.Notes) > 0
}

// fate is what becomes of the segment.
func (d *Decision) fate() features.Fate {
	if d.Verdict == faults.Drop {
		return features.Dropped
	}
	if _, replaced := d.Effects.Replaced(); replaced {
		return features.Rewritten
	}
	if d.Effects.Hold > 0 {
		return features.Held
	}
	return features.Passed
}

// forges reports whether the faults want to send something that the ends did not send.
func (d *Decision) forges() bool {
	if _, replaced := d.Effects.Replaced(); replaced {
		return true
	}
	for i := range d.Effects.Forged {
		if !d.Effects.Forged[i].Raw {
			return true
		}
	}
	return false
}

// sendsTo reports whether the faults want to send that end something that its TCP must accept.
func (d *Decision) sendsTo(side faults.Side) bool {
	return slices.ContainsFunc(d.Effects.Notes, func(n faults.Note) bool {
		return outcome.Active(n.Action) && n.To.Includes(side)
	})
}

// bit is that of the fault in a set of faults, or 0.
func (d *Decision) bit() uint64 {
	if d.Fault < 0 {
		return 0
	}
	return 1 << d.Fault
}
