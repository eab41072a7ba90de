package faults

import (
	"net/netip"
	"time"

	"github.com/faultctl/faultctl/faults/packet"
)

// Flow is what is known about one connection from the segments that were
// handed over. These may be few: a flow that the kernel lets pass is not
// watched, and one that was open before the run began starts in the middle.
type Flow struct {
	Client, Server netip.AddrPort

	// Half is what each side sent, indexed by the Direction it sends in.
	Half [2]Half

	Born time.Duration // when its first segment was seen
	RTT  time.Duration // SYN to SYN-ACK as seen here; 0 if that was not seen

	// Midstream says that the first segment seen was not a SYN: the flow was
	// open before the run began, or was let pass until now. Its window scales
	// and what went before are unknown.
	Midstream bool

	Segments uint32 // handed over so far, this one included

	// Since is the time from which the kernel has handed over every segment of the
	// flow that no fault let pass: 0, the start of the run, unless the rules came
	// to cover the flow later. The engine sets it before the first Observe.
	Since time.Duration
}

// Half is one side of a flow, from the segments that this side sent. Its fields
// are in the order that takes the least memory.
type Half struct {
	Bytes uint64        // payload it sent, retransmissions not counted
	At    time.Duration // when TSVal was seen

	ISN    packet.Seq // the sequence number of its SYN
	Next   packet.Seq // one past the highest sequence number it sent
	Passed packet.Seq // one past the highest that was let through to its peer
	Ack    packet.Seq // the highest acknowledgment it sent

	// What the next segment of this side continues.
	TSVal, TSEcr uint32
	Label        uint32
	Window       uint16 // raw, as in the header
	ID           uint16
	TTL          uint8
	TOS          uint8
	Scale        int8 // from its SYN; -1 if it offered none; meaningless unless SYN

	Seen bool // false: this side has sent nothing yet, all else is zero
	SYN  bool // its SYN was seen: ISN and Scale are known
	FIN  bool // its FIN was seen

	HasPassed bool // Passed is known
	HasAck    bool // Ack is known
	Stamped   bool // it sends timestamps
	Unscaled  bool // Window is that of a SYN
	DF        bool
}

// Observe takes a segment into account, before any fault is asked about it.
// It reports whether the segment carries something new: sequence numbers that
// its side had not sent before.
func (f *Flow) Observe(at time.Duration, dir Direction, s packet.Segment) bool {
	if f.Segments == 0 {
		f.Born = at
		f.Midstream = !s.Flags().Has(packet.SYN)
	}
	f.Segments++
	h, flags := &f.Half[dir], s.Flags()
	if flags.Has(packet.RST) {
		return false // says nothing reliable of the stream
	}
	if flags.Has(packet.SYN) {
		h.SYN, h.ISN, h.Scale = true, s.Seq(), -1
		if w, ok := s.WindowScale(); ok {
			h.Scale = int8(w)
		}
		if dir == Reply && f.RTT == 0 && f.Half[Original].SYN && f.Segments == 2 {
			f.RTT = at - f.Born
		}
	}
	fresh := h.observe(at, s)
	h.FIN = h.FIN || flags.Has(packet.FIN)
	return fresh
}

func (h *Half) observe(at time.Duration, s packet.Segment) (fresh bool) {
	end := s.End()
	switch {
	case !h.Seen:
		h.Next, fresh = end, s.SeqLen() > 0
		h.Bytes += uint64(s.PayloadLen())
	case h.Next.Less(end):
		h.Bytes += uint64(min(int(end.Sub(h.Next)), s.PayloadLen()))
		h.Next, fresh = end, true
	}
	if s.Flags().Has(packet.ACK) && (!h.HasAck || h.Ack.Less(s.Ack())) {
		h.Ack, h.HasAck = s.Ack(), true
	}
	if val, ecr, ok := s.Timestamps(); ok {
		if !h.Stamped || int32(val-h.TSVal) >= 0 {
			h.TSVal, h.TSEcr, h.At = val, ecr, at
		}
		h.Stamped = true
	}
	h.Seen = true
	h.Unscaled = s.Flags().Has(packet.SYN)
	h.Window, h.ID, h.TTL, h.TOS, h.DF, h.Label = s.Window(), s.ID(), s.TTL(), s.TOS(), s.DF(), s.FlowLabel()
	return fresh
}

// Pass takes into account that s was let through to its receiver. The
// engine calls it when the verdict is known.
func (f *Flow) Pass(dir Direction, s packet.Segment) {
	h := &f.Half[dir]
	if end := s.End(); !h.HasPassed || h.Passed.Less(end) {
		h.Passed, h.HasPassed = end, true
	}
}

// Ended reports whether a FIN of the side has been let through to its peer.
func (h *Half) Ended() bool { return h.FIN && h.HasPassed && h.Next.LessEq(h.Passed) }

// Expects returns the sequence number that the receiver of direction dir
// expects next (its RCV.NXT), as well as it can be known here: what was let
// through to it, or what it acknowledged if that is more. It reports false if
// neither was seen.
func (f *Flow) Expects(dir Direction) (packet.Seq, bool) {
	from, peer := &f.Half[dir], &f.Half[dir.Flip()]
	switch {
	case from.HasPassed && peer.HasAck:
		return packet.Max(from.Passed, peer.Ack), true
	case from.HasPassed:
		return from.Passed, true
	}
	return peer.Ack, peer.HasAck
}

// Like returns a segment without payload as the side sending in direction dir
// would send it next: its identification, timestamps, window, TTL, ToS and flow
// label go on where its last segment left off. Its sequence and acknowledgment
// numbers are left zero. It reports false if that side was never seen.
func (f *Flow) Like(dir Direction, at time.Duration, flags packet.Flags) (packet.Fields, bool) {
	h, peer := &f.Half[dir], &f.Half[dir.Flip()]
	if !h.Seen {
		return packet.Fields{}, false
	}
	out := packet.Fields{
		TTL: h.TTL, TOS: h.TOS, ID: h.ID + 1, DF: h.DF, FlowLabel: h.Label, Flags: flags, Window: h.Window,
	}
	if h.Unscaled && h.Scale > 0 && (!peer.SYN || peer.Scale >= 0) {
		// The window of a SYN is never scaled, the next one is, and is rounded
		// up (RFC 7323 section 2.2, __tcp_select_window).
		out.Window = uint16((uint32(h.Window) + 1<<h.Scale - 1) >> h.Scale)
	}
	out.Src, out.Dst = f.ends(dir)
	if h.Stamped {
		ecr := h.TSEcr
		if peer.Stamped && (ecr == 0 || int32(peer.TSVal-ecr) > 0) { // a SYN echoes nothing
			ecr = peer.TSVal // a later one may have been echoed in a segment that was not seen
		}
		out.SetTimestamps(h.TSVal+uint32((at-h.At)/time.Millisecond), ecr)
	}
	return out, true
}

// Continue returns what Like does, with the sequence number that the receiver
// expects and an acknowledgment of what it has sent. It reports false if these
// are not known.
func (f *Flow) Continue(dir Direction, at time.Duration, flags packet.Flags) (packet.Fields, bool) {
	out, ok := f.Like(dir, at, flags)
	seq, known := f.Expects(dir)
	if !ok || !known {
		return packet.Fields{}, false
	}
	out.Seq, out.Ack = seq, f.Half[dir].Ack
	if ack, known := f.Expects(dir.Flip()); known && f.Half[dir.Flip()].HasPassed {
		out.Ack = ack
	}
	return out, true
}

// Device returns a bare segment from a middlebox to the receiver of direction
// dir, in the name of the sender: nothing in it continues the sender's stream.
func (f *Flow) Device(dir Direction, ttl uint8, flags packet.Flags, seq, ack packet.Seq) packet.Fields {
	out := packet.Fields{TTL: ttl, DF: true, Seq: seq, Ack: ack, Flags: flags}
	out.Src, out.Dst = f.ends(dir)
	return out
}

func (f *Flow) ends(dir Direction) (src, dst netip.AddrPort) {
	if dir == Original {
		return f.Client, f.Server
	}
	return f.Server, f.Client
}
