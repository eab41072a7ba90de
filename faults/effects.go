package faults

import (
	"net/netip"
	"slices"
	"time"

	"github.com/faultctl/faultctl/faults/packet"
)

// Effects collects everything a fault wants to happen besides its verdict.
// The engine carries it out after the verdict of the whole chain is known. It is reused: nothing in it outlives the segment.
type Effects struct {
	// Hold is how long the segment is delayed before the verdict counts.
	// The delays of several faults add up; see Delay.
	Hold time.Duration

	Forged []Forged // segments to send, in this order
	Notes  []Note   // for the event log

	replaced packet.Segment
	changed  bool
	scratch  []byte // backs replaced
	payload  []byte // backs the payloads of Forged

	capture, release, admit bool
	overtake                bool
	split                   bool
	cut                     bool
	wake                    time.Duration
	waking                  bool
	dated                   int // so many of Forged have the timestamps of when they leave
}

// Forged is a segment of our own making.
type Forged struct {
	Fields  packet.Fields
	After   time.Duration // not sooner than this after the event
	Answer  bool          // and not sooner than the path allows an answer
	Along   bool          // it travels with the segment, and is delayed with it
	Raw     bool          // the payload is the whole packet, headers included; of Fields only the addresses count
	off, to int
}

// Note is one line of the event log: what a fault did, to whom, and why.
type Note struct {
	Action Action
	To     Side
	Reason string // constant text: nothing on the packet path formats
}

// Action is the kind of thing a fault did.
type Action uint8

// The actions, as they appear in the event log.
const (
	Dropped Action = iota
	SentRST
	SentFIN
	SentICMP
	Delayed
	Rewritten
	Duplicated
	Held
)

func (a Action) String() string {
	return [...]string{"drop", "rst", "fin", "icmp", "delay", "rewrite", "duplicate", "hold"}[min(a, Held)]
}

// Reset empties o for the next segment and keeps its memory.
func (o *Effects) Reset() {
	*o = Effects{
		Forged:  o.Forged[:0],
		Notes:   o.Notes[:0],
		scratch: o.scratch[:0],
		payload: o.payload[:0],
	}
}

// Delay holds the segment back for d more.
func (o *Effects) Delay(d time.Duration) { o.Hold += d }

// Overtake lets a held segment leave when its own time has come, even before
// segments of its direction that were held earlier. Without it the segments of a
// direction keep their order.
func (o *Effects) Overtake() { o.overtake = true }

// Overtakes reports whether a fault lets the segment overtake.
func (o *Effects) Overtakes() bool { return o.overtake }

// Forge sends f with the given payload at once. The payload is copied.
func (o *Effects) Forge(f packet.Fields, payload []byte) {
	o.ForgeAfter(0, f, payload)
}

// ForgeAfter sends f with the given payload after d. The payload is copied.
func (o *Effects) ForgeAfter(d time.Duration, f packet.Fields, payload []byte) {
	o.forge(Forged{Fields: f, After: d}, payload)
}

// behind is the shortest delay that makes a forged segment leave after the segment
// that caused it.
const behind = 1

// Answer sends f as the answer of the other end: no sooner than a packet could
// have travelled there and back, so that a forged answer is never faster than a
// genuine one could be.
func (o *Effects) Answer(f packet.Fields) {
	o.forge(Forged{Fields: f, Answer: true}, nil)
}

// date gives the segments that an end sends later the timestamps of that time. TSval
// was read at this point of the path, where it is as old as the way from its sender; an
// answer arrives here when the way has been travelled twice.
func (o *Effects) date(rtt time.Duration) {
	for ; o.dated < len(o.Forged); o.dated++ {
		f := &o.Forged[o.dated]
		if f.Raw || f.Along {
			continue
		}
		after := f.After
		if f.Answer {
			after = max(after, rtt)
		}
		f.Fields.Later(uint32(after / time.Millisecond))
	}
}

// Unreachable sends the sender of s an ICMP error with that code and IPv4
// identification, in the name of the address that s was sent to (see
// [packet.AppendUnreachable]).
func (o *Effects) Unreachable(s packet.Segment, code uint8, id uint16) {
	f := Forged{Raw: true, off: len(o.payload)}
	f.Fields.Src, f.Fields.Dst = netip.AddrPortFrom(s.Dst(), 0), s.SrcAddrPort()
	o.payload = packet.AppendUnreachable(o.payload, s.Dst(), code, id, s)
	f.to = len(o.payload)
	o.Forged = append(o.Forged, f)
}

// Duplicate sends the segment once more, as it is or as a fault earlier in the
// chain replaced it.
func (o *Effects) Duplicate(s packet.Segment) {
	if o.changed {
		s = o.replaced
	}
	o.forge(Forged{Fields: packet.Fields{Src: s.SrcAddrPort(), Dst: s.DstAddrPort()}, Raw: true, Along: true}, s.Bytes())
}

// Piece sends f after d in place of the segment, which itself goes no further.
// What later faults of the chain decide about the segment applies to its pieces:
// a delay, a drop, or another segment in its place.
func (o *Effects) Piece(d time.Duration, f packet.Fields, payload []byte) {
	o.split = true
	o.forge(Forged{Fields: f, After: d, Along: true}, payload)
}

// Split reports whether pieces are sent in place of the segment. The chain's
// verdict on it is then Drop.
func (o *Effects) Split() bool { return o.split }

// unsplit takes the pieces back.
func (o *Effects) unsplit() {
	if o.split {
		o.split = false
		o.Forged = slices.DeleteFunc(o.Forged, func(f Forged) bool { return f.Along && !f.Raw })
	}
}

func (o *Effects) forge(f Forged, payload []byte) {
	f.off = len(o.payload)
	o.payload = append(o.payload, payload...)
	f.to = len(o.payload)
	o.Forged = append(o.Forged, f)
}

// Payload returns the payload of a forged segment of this Effects.
func (o *Effects) Payload(f *Forged) []byte { return o.payload[f.off:f.to] }

// Copy returns a writable copy of the segment, or of what a fault earlier in
// the chain made of it. Change it, then hand it to Replace.
func (o *Effects) Copy(s packet.Segment) packet.Segment {
	if o.changed {
		return o.replaced
	}
	o.scratch = append(o.scratch[:0], s.Bytes()...)
	w, err := packet.Parse(o.scratch)
	if err != nil {
		return s // unreachable: s was parsed from the same bytes
	}
	return w
}

// Replace sends s in place of the segment. s must come from Copy and have correct
// checksums.
func (o *Effects) Replace(s packet.Segment) {
	o.unsplit()
	o.replaced, o.changed = s, true
}

// Replaced returns what is sent in place of the segment, if a fault replaced it.
func (o *Effects) Replaced() (packet.Segment, bool) { return o.replaced, o.changed }

// Capture asks for every segment of the flow from now on, both directions.
// It holds until Release or until the flow's next SYN.
func (o *Effects) Capture() { o.capture, o.release = true, false }

// Release says that this fault has finished with the flow, or did not choose
// it: no segment of it need be handed over again until its next SYN.
func (o *Effects) Release() { o.release, o.capture = true, false }

// Admit restarts the flow's idle timer: the kernel lets the flow pass until it
// has been silent for the time that [Diversion.Idle] names.
func (o *Effects) Admit() { o.admit = true }

// Wake asks for OnWake after d. Each fault has one alarm: a later call
// replaces an earlier one. The fault must be a [Waker].
func (o *Effects) Wake(d time.Duration) { o.wake, o.waking = d, true }

// Note records for the event log what the fault did.
func (o *Effects) Note(a Action, to Side, reason string) {
	o.Notes = append(o.Notes, Note{Action: a, To: to, Reason: reason})
}

// Cut says that the fault leaves the segment as it is only because its copy was
// truncated: the longest segments of loopback do not fit into the queue.
func (o *Effects) Cut() { o.cut = true }

// WasCut reports whether a fault said so.
func (o *Effects) WasCut() bool { return o.cut }

// Captured reports whether a fault asked for the whole flow.
func (o *Effects) Captured() bool { return o.capture }

// Released reports whether every fault of the chain has released the flow.
func (o *Effects) Released() bool { return o.release }

// Admitted reports whether a fault restarted the idle timer.
func (o *Effects) Admitted() bool { return o.admit }
