package faults

import "github.com/faultctl/faultctl/faults/packet"

// ghost stands in for an endpoint that no longer exists. Nothing that the real
// one sends passes; every segment that the live side sends is swallowed and
// answered as a host without the connection would, one each and without a
// limit (RFC 9293 section 3.10.7.1, tcp_v4_send_reset); silence earns nothing.
type ghost struct {
	dead Side // Both: each side finds the other one gone
	rtt  RTT

	// closed says that no program listens on the dead end's port any more.
	closed bool

	// label is the IPv6 flow label of the dead end while its socket still exists
	// without a program; 0: the socket is gone.
	label uint32
}

// onSegment judges a segment after the endpoint died. Each answer is noted in
// the event log with the reason note.
func (g ghost) onSegment(ev *Event, out *Effects, note string) Verdict {
	if !g.dead.Includes(ev.Dir.To()) {
		return Drop // the real process behind the ghost is not heard
	}
	if g.discards(ev) {
		return Drop
	}
	// Its answers arrive with the TTL that its other segments had.
	if f, ok := packet.Answer(ev.Seg, ev.Flow.Half[ev.Dir.Flip()].TTL); ok {
		if g.label != 0 {
			f.FlowLabel = g.label
		}
		g.rtt.answer(out, f)
		out.Note(SentRST, ev.Dir.From(), note)
	}
	return Drop
}

// discards reports whether the dead end's host takes the segment without a word. A
// listener discards what has neither ACK nor SYN nor RST (tcp_rcv_state_process in
// LISTEN), and no host without a key for it answers a segment that is signed by RFC
// 2385 (tcp_v4_send_reset).
func (g ghost) discards(ev *Event) bool {
	return ev.Seg.Signed() || !g.closed && ev.Dir.To() == Server && isBare(ev.Seg)
}

// isBare reports whether a segment has neither ACK nor SYN nor RST, as no TCP sends one.
func isBare(s packet.Segment) bool { return !s.Flags().Any(packet.ACK | packet.SYN | packet.RST) }

// dispose sends the real process behind a dead side a reset that it accepts,
// so that it does not retransmit for a quarter of an hour. ev is the segment
// at which the other side died.
func dispose(ev *Event, out *Effects, side Side) {
	for _, s := range [...]Side{Client, Server} {
		if !side.Includes(s) {
			continue
		}
		if f, ok := resetTo(ev, s, shapeAuto); ok {
			out.Forge(f, nil)
		}
	}
}

// The shapes of a reset that resetTo can be asked for.
const (
	shapeAuto = "auto" // as the moment has it
	shapeA    = "a"    // as a socket aborts
	shapeB    = "b"    // as a host without the connection answers
)

// resetTo makes a reset that side s accepts at the first try: its sequence
// number is exactly what s expects next (RFC 5961 section 3), or it
// acknowledges the SYN exactly if s has sent nothing but that (RFC 9293
// section 3.10.7.3). It reports false if the numbers cannot be known.
func resetTo(ev *Event, s Side, shape string) (packet.Fields, bool) {
	toward := s.Other().Sends() // the direction in which the reset travels
	if ev.Dir.From() == s {
		// The deciding segment is s's own: what it acknowledges is what s
		// expects, and a SYN is answered like one to a closed port.
		b, ok := packet.Answer(ev.Seg, ev.Flow.Half[toward].TTL)
		if shape != shapeA || !ev.Seg.Flags().Has(packet.ACK) {
			return b, ok
		}
		if a, known := ev.Flow.Continue(toward, ev.At, packet.RST|packet.ACK); known {
			a.Seq = ev.Seg.Ack()
			// The socket has received what it dies of.
			a.Ack = packet.Max(a.Ack, ev.Seg.End())
			return a, true
		}
		return b, ok
	}
	// The deciding segment travels to s.
	a := packet.Abort(ev.Seg)
	if expects, ok := ev.Flow.Expects(toward); ok {
		// A retransmission: s has more than this already. A higher
		// number is left: what lies between passed unseen, or it was lost, and
		// then s answers with a challenge ACK, which the ghost answers in turn.
		a.Seq = packet.Max(a.Seq, expects)
	}
	if ev.Seg.Flags().Has(packet.SYN) {
		// s is in SYN_SENT: the segment is a SYN-ACK, and in its place comes
		// what a closed port answers to the SYN, shape C.
		c := ev.Flow.Device(toward, ev.Seg.TTL(), packet.RST|packet.ACK, 0, ev.Seg.Ack())
		c.TOS, c.FlowLabel = ev.Seg.TOS(), ev.Seg.FlowLabel()
		return c, ev.Seg.Flags().Has(packet.ACK)
	}
	if shape == shapeB {
		b := ev.Flow.Device(toward, 64, packet.RST, a.Seq, 0)
		return b, true
	}
	return a, true
}
