package faults

import (
	"time"

	"github.com/faultctl/faultctl/faults/packet"
)

// AnswerPause is how long an end must have sent nothing new for what it said to be
// taken as complete. It is longer than what a retransmission needs on a short path
// (RTO_MIN, 200 ms), so that a lost segment in mid-answer is no pause.
const AnswerPause = 250 * time.Millisecond

// answer watches the server's answer for its end. No segment says that it is the
// last one, so an answer is over when
//
//   - the server's application closes: its FIN;
//   - the client takes it as complete: it has acknowledged all of it, which ended
//     with a push, and sends its next request or its own FIN;
//   - its sender pauses: the client has acknowledged everything and has room for
//     more, and AnswerPause, and two round trips, have passed since. As long as
//     something is unacknowledged the sender waits for its congestion window or
//     for a retransmission, and without a window for the client to read.
//
// What is sent again does not count. The fault that asks must be handed every
// segment, and be a Waker that calls onWake until the answer is over.
type answer struct {
	begun  bool          // the server has sent something of it
	dead   bool          // a RST has passed: there is nobody to speak for
	pushed bool          // its last segment so far had PSH: nothing waits behind it
	armed  bool          // an alarm is set
	quiet  bool          // the sender has paused, but for answerAgain
	last   time.Duration // when the server sent, or the client acknowledged, something new
	acked  packet.Seq    // what the client had acknowledged then
}

// over says when an answer is over.
type over uint8

const (
	notOver    over = iota
	overWithIt      // the segment is the server's FIN, perhaps with the last of the answer
	overBefore      // the segment is the client's, which has all of the answer
)

// onSegment takes a segment into account, the request's own included.
func (a *answer) onSegment(ev *Event, out *Effects) over {
	seg, flags := ev.Seg, ev.Seg.Flags()
	client := &ev.Flow.Half[Original]
	switch {
	case flags.Has(packet.RST):
		a.dead = true
	case a.dead || flags.Has(packet.SYN):
	case ev.Dir == Reply:
		if flags.Has(packet.FIN) {
			return overWithIt
		}
		if ev.Fresh && seg.PayloadLen() > 0 {
			a.begun, a.quiet, a.pushed, a.last, a.acked = true, false, flags.Has(packet.PSH), ev.At, client.Ack
		}
	case a.begun:
		if ev.Fresh && a.pushed && a.delivered(ev.Flow) && (seg.PayloadLen() > 0 || flags.Has(packet.FIN)) {
			return overBefore
		}
		if a.acked.Less(client.Ack) || !a.armed && a.delivered(ev.Flow) {
			a.acked, a.last, a.quiet = client.Ack, ev.At, false
		}
	}
	if !a.dead && a.begun && !a.armed && a.delivered(ev.Flow) {
		a.armed = true
		out.Wake(answerPause(ev.Flow))
	}
	return notOver
}

// onWake reports whether the answer is over because its sender has paused.
func (a *answer) onWake(ev *Event, out *Effects) bool {
	a.armed = false
	if a.dead || !a.begun || !a.delivered(ev.Flow) {
		return false // the client's next acknowledgment sets the alarm again
	}
	if left := a.last + answerPause(ev.Flow) - ev.At; left > 0 {
		a.armed = true
		out.Wake(left)
		return false
	}
	if !a.quiet {
		a.quiet, a.armed = true, true
		out.Wake(answerAgain)
		return false
	}
	return true
}

// answerAgain is how much later than a pause its end is looked for once more: on a
// busy host segments that came in time may wait to be handed over when the alarm
// rings, and are then seen before the next one.
const answerAgain = 10 * time.Millisecond

// delivered reports whether the client has acknowledged everything that the server
// sent, and has room for more.
func (a *answer) delivered(f *Flow) bool {
	c, s := &f.Half[Original], &f.Half[Reply]
	return c.HasAck && s.Next.LessEq(c.Ack) && c.Window > 0
}

// answerPause is how long a pause must be at the end of an answer.
func answerPause(f *Flow) time.Duration { return AnswerPause + 2*f.RTT }

// closing is a segment that says in the server's name that it has closed, after all
// that it sent: a FIN, or a RST of shape A. It reports false if the numbers are not
// known.
func closing(ev *Event, flags packet.Flags) (packet.Fields, bool) {
	f, ok := ev.Flow.Continue(Reply, ev.At, flags|packet.ACK)
	f.Ack = ev.Flow.Half[Original].Next
	return f, ok
}

// disposeAtRest is dispose for a server that died while nothing travelled.
func disposeAtRest(ev *Event, out *Effects) {
	if seq, ok := ev.Flow.Expects(Original); ok {
		out.Forge(ev.Flow.Device(Original, ev.Flow.Half[Original].TTL, packet.RST, seq, 0), nil)
	}
}
