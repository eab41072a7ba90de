package features

import (
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
)

// Fate is what became of a segment where it was seen.
type Fate uint8

// The fates. A capture knows only Passed.
const (
	Passed    Fate = iota // it went on as it came
	Held                  // it goes on later
	Rewritten             // something else went on in its place
	Dropped               // nothing went on
	Forged                // none of the ends sent it
)

// Kind is what a segment is to the connection. Of two kinds that both fit, the
// later one counts: a FIN with data is a FIN.
type Kind uint8

// The kinds. The zero value means that there was no segment.
const (
	None      Kind = iota
	ACK            // nothing but an acknowledgment or a window
	Keepalive      // a probe: nothing new, sent from below what is acknowledged (RFC 9293 section 3.8.4)
	Data           // payload
	SYN
	FIN
	RST
)

func (k Kind) String() string {
	return [...]string{"nothing", "an ACK", "a keepalive", "data", "a SYN", "a FIN", "a RST"}[min(k, RST)]
}

// Turn is whose payload was seen last.
type Turn uint8

// The turns. TurnUnknown means that none was seen, or that payload passed
// unseen since; see [Flow.Unseen] to tell the two apart.
const (
	TurnUnknown Turn = iota
	ClientSent       // the client sent last: an answer is outstanding
	ServerSent       // the server sent last
)

// Pause is how long a side must have sent nothing for what it said to be taken
// as complete. It is longer than what a retransmission needs on a short path
// (RTO_MIN, 200 ms), so that a lost segment in mid-answer is no pause.
const Pause = faults.AnswerPause

// Half is what one side of a connection sent. Its fields are in the order that
// takes the least memory.
type Half struct {
	Bytes    uint64        // payload, bytes sent again not counted; what passed unseen is counted as soon as a number shows it
	LastData time.Duration // when it last sent payload that was new
	LastACK  time.Duration // when it last sent anything

	Next   packet.Seq // one past the highest sequence number that it sent
	Acked  packet.Seq // the highest number that its peer acknowledged
	Passed packet.Seq // one past the highest number that went on to its peer

	Resent     uint32 // segments with payload that was sent before
	Keepalives uint32 // probes that it sent

	Window  uint16 // raw, of its last segment
	Seen    bool   // it sent something
	SYN     bool
	FIN     bool // it sent a FIN
	RST     bool // it sent a RST
	HasAck  bool // Acked is known
	HasPass bool // Passed is known
}

// Unacked reports whether it sent something that its peer was not yet seen to
// acknowledge: its TCP will send that again if no answer comes.
func (h *Half) Unacked() bool { return h.Seen && (!h.HasAck || h.Acked.Less(h.Next)) }

// Swallowed reports whether something that it sent did not go on to its peer, and
// has not arrived by another way: its TCP will surely send that again.
func (h *Half) Swallowed() bool { return h.Seen && (!h.HasPass || h.Passed.Less(h.Next)) }

// Cut reports whether payload that it sent did not go on to its peer. A FIN is none.
func (h *Half) Cut() bool {
	end := h.Next
	if h.FIN {
		end = end.Add(^uint32(0))
	}
	return h.Seen && (!h.HasPass || h.Passed.Less(end))
}

// Silence is a time without segments, or without payload.
type Silence struct {
	For   time.Duration
	Ended Kind             // what ended it; None: nothing did yet
	By    faults.Direction // which way that travelled
}

// Flow is what is known of one connection. The zero Flow is one of which
// nothing was seen.
type Flow struct {
	Half [2]Half // by the direction in which the side sends

	Born time.Duration // when its first segment was seen
	Last time.Duration // when its last segment was seen

	Longest     Silence // the longest time without any segment
	LongestData Silence // the longest time without payload, SYN, FIN or RST

	lastData time.Duration // when such a segment was seen last
	hash     uint64        // of the payload of the client's present or last turn, see Request
	hashed   uint16

	RTT [2]uint32 // microseconds from here to that side and back, by the handshake; 0: not known

	Turns  uint32 // how often the side that sends payload changed, the first one included
	Turn   Turn
	closer Prevention // which side closed first
	Unseen bool       // payload passed unseen, at some time
	TLS    bool       // a segment of the client began with a TLS record
	Kind   Kind       // of the segment seen last
}

// farAway is more than a window can be (RFC 7323 section 2.3).
const farAway = 1 << 30

// hashLength is how many bytes of a request are told apart.
const hashLength = 1024

// Observe takes a segment into account and says what it is. A segment with the
// fate Forged must not be handed over: no end sent it. at never decreases.
func (f *Flow) Observe(at time.Duration, dir faults.Direction, s packet.Segment, fate Fate) (kind Kind, fresh bool) {
	h := &f.Half[dir]
	flags, payload := s.Flags(), s.PayloadLen()
	first := !f.Half[0].Seen && !f.Half[1].Seen && !f.Half[0].RST && !f.Half[1].RST
	if first {
		f.Born, f.lastData = at, at
	}
	if !flags.Has(packet.RST) {
		f.handshake(at, dir, flags, payload)
		f.acknowledged(dir, s)
		kind, fresh = h.observe(s)
		if kind == Data || kind == FIN && payload > 0 {
			f.sent(at, dir, s, fresh, h.Seen)
		} else if fresh && h.Seen && s.Seq() != h.Next && !flags.Has(packet.SYN) {
			f.unseen()
		}
		if fresh {
			h.advance(s)
		}
		h.Seen, h.Window, h.LastACK = true, s.Window(), at
		if fate == Passed || fate == Held {
			h.pass(s.End())
		}
	} else {
		kind, h.RST, h.LastACK = RST, true, at
	}
	if kind >= FIN && f.closer == NotPrevented {
		f.closer = ByClient + Prevention(dir)
	}
	f.Kind = kind
	f.silence(at, dir, kind, first)
	if kind == Keepalive {
		h.Keepalives++
	}
	return kind, fresh
}

// observe says what a segment is, by what its side sent before.
func (h *Half) observe(s packet.Segment) (Kind, bool) {
	flags, payload, end := s.Flags(), s.PayloadLen(), s.End()
	fresh := !h.Seen && s.SeqLen() > 0 || h.Seen && h.Next.Less(end)
	switch {
	case flags.Has(packet.SYN):
		h.SYN = true
		return SYN, fresh
	case flags.Has(packet.FIN):
		h.FIN = true
		return FIN, fresh
	case h.Seen && payload <= 1 && s.Seq() == h.Next.Add(^uint32(0)) && !(h.HasAck && h.Acked.LessEq(s.Seq())):
		return Keepalive, false
	case payload > 0:
		if !fresh {
			h.Resent++
		}
		return Data, fresh
	}
	return ACK, fresh
}

// advance takes new sequence numbers into account. What lies between them and
// what was known passed unseen.
func (h *Half) advance(s packet.Segment) {
	end := s.End()
	if !s.Flags().Has(packet.SYN) && (!h.Seen || h.Next.Less(s.Seq())) {
		h.pass(s.Seq())
	}
	if !h.Seen {
		h.Bytes += uint64(s.PayloadLen())
	} else if n := end.Sub(h.Next); n > 0 {
		if s.Flags().Any(packet.SYN | packet.FIN) {
			n--
		}
		h.Bytes += uint64(max(n, 0))
	}
	h.Next = end
}

func (h *Half) pass(end packet.Seq) {
	if !h.HasPass || h.Passed.Less(end) {
		h.Passed, h.HasPass = end, true
	}
}

// handshake measures the way to each side, by the ACK of the SYN-ACK and by nothing that comes
// later: that ACK may pass unseen.
func (f *Flow) handshake(at time.Duration, dir faults.Direction, flags packet.Flags, payload int) {
	switch {
	case dir == faults.Reply && flags.Has(packet.SYN|packet.ACK) && !f.Half[faults.Reply].Seen && f.Half[faults.Original].SYN:
		f.RTT[faults.Reply] = micros(at - f.Born)
		f.lastData = at
	case dir == faults.Original && flags == packet.ACK && payload == 0 && f.Kind == SYN && f.RTT[faults.Original] == 0 && f.Half[faults.Reply].SYN:
		f.RTT[faults.Original] = micros(at - f.Last)
	}
}

// micros is at least 1, so that 0 can mean not known.
func micros(d time.Duration) uint32 { return uint32(min(max(d.Microseconds(), 1), 1<<32-1)) }

// acknowledged takes the acknowledgment number into account: it shows what the
// other side sent, seen or not.
func (f *Flow) acknowledged(dir faults.Direction, s packet.Segment) {
	if !s.Flags().Has(packet.ACK) {
		return
	}
	peer, ack := &f.Half[dir.Flip()], s.Ack()
	if !peer.Seen { // a connection that was open before it was seen
		peer.Seen, peer.Next = true, ack
	}
	if n := ack.Sub(peer.Next); n > 0 {
		peer.Bytes += uint64(n)
		peer.Next = ack
		f.unseen()
	}
	if !peer.HasAck || peer.Acked.Less(ack) {
		peer.Acked, peer.HasAck = ack, true
	}
	peer.pass(peer.Acked)
}

// unseen notes that payload passed that was not seen.
func (f *Flow) unseen() {
	f.Unseen, f.Turn = true, TurnUnknown
}

// sent takes payload into account.
func (f *Flow) sent(at time.Duration, dir faults.Direction, s packet.Segment, fresh, seen bool) {
	h := &f.Half[dir]
	if !fresh {
		return
	}
	if seen && h.Next.Less(s.Seq()) {
		f.unseen()
	}
	if turn := ClientSent + Turn(dir); f.Turn != turn {
		f.Turn = turn
		f.Turns++
		if dir == faults.Original {
			f.hash, f.hashed = fnvOffset, 0
		}
	}
	h.LastData = at
	if dir == faults.Original {
		f.digest(s.Payload())
		f.TLS = f.TLS || beginsTLS(s.Payload())
	}
}

// beginsTLS reports whether payload begins with the header of a TLS record of a handshake
// or of application data (RFC 8446 section 5.1).
func beginsTLS(b []byte) bool {
	return len(b) >= 5 && (b[0] == 22 || b[0] == 23) && b[1] == 3 && b[2] <= 4
}

// silence keeps the longest times without a segment.
func (f *Flow) silence(at time.Duration, dir faults.Direction, kind Kind, first bool) {
	if !first {
		if d := at - f.Last; d > f.Longest.For {
			f.Longest = Silence{d, kind, dir}
		}
		if d := at - f.lastData; kind >= Data && d > f.LongestData.For {
			f.LongestData = Silence{d, kind, dir}
		}
	}
	f.Last = at
	if kind >= Data {
		f.lastData = at
	}
}
