package faults

import (
	"time"

	"github.com/faultctl/faultctl/faults/clue"
	"github.com/faultctl/faultctl/faults/packet"
)

var stallKind = Kind{
	Name: "stall", Group: "reset",
	Cause:   "The peer has stopped reading: it hangs, is collecting garbage, or is itself waiting for something. Its window closes, and it does not answer.",
	Symptom: "The peer's kernel acknowledges a request, but no answer comes: reads wait. Writes succeed until the window and the send buffer are full, then block, or fail with EAGAIN. There is never an error, since the peer's kernel answers probes. What the peer wrote before still arrives.",
	Remedy:  "Set a deadline on reads and on writes; use backpressure instead of unbounded buffers. TCP_USER_TIMEOUT covers a closed window too, but not a request that has been acknowledged.",
	Example: "faultctl inject stall --for 30s --to :6379",
	Verify:  []Verify{{Settings: "for=1s"}},
	Shows: []clue.Prediction{{
		Must:    clue.Of(clue.Open, clue.WindowShut),
		Settles: "what the process that should read is doing: Recv-Q of its socket (ss -tm)",
	}, {
		Must:    clue.Of(clue.Open, clue.Unanswered),
		Weak:    true,
		Settles: "what the process that should answer is doing",
	}},
	New: func() Model { return new(Stall) },
}

// Stall is the fault stall: the peer has stopped reading. Its window closes as
// data fills its buffer, never by taking back what it offered (RFC 9293 section
// 3.8.6), and its kernel goes on answering probes.
//
// It does not answer what it has not read either. The real program behind it does
// read and answer, but its answers are kept in its own send buffer: from the first
// new data on, the segments to it offer no window, in its peer's name. So its TCP
// neither sends nor retransmits, and sends what has waited as soon as the stall is
// over. What it sends before it has acknowledged new data passes: its program can
// have written that without reading.
type Stall struct {
	Side    Side          `knob:"side" default:"server" help:"which end stops reading"`
	At      Trigger       `knob:"at" default:"request" help:"when it stops reading"`
	BytesOf Side          `knob:"bytes-of" alias:"dir" help:"whose payload counts for --at bytes=N: the client's, the server's, or both"`
	For     time.Duration `knob:"for" help:"how long the stall lasts; 0: for ever"`
}

// Validate implements Model.
func (m *Stall) Validate() error {
	if err := judge(m); err != nil {
		return err
	}
	if m.Side == Both {
		return wrong(m, "side", "it is the end that stops reading: client or server")
	}
	return m.At.mayCount(m, m.BytesOf)
}

// Diverts implements Model.
func (m *Stall) Diverts() Diversion {
	return completed(m).At.diverts().Union(Diversion{Whole: true})
}

// Start implements Model.
func (m *Stall) Start() Instance {
	m = completed(m)
	m.At = m.At.of(m.BytesOf)
	return PerFlow(func() Fault { return &stall{m: m} })
}

// stallState is how far a stall has come on a connection:
//
//	waiting ── the moment comes ──► filling ── data stays unread ──► silent
//	                                   │                               │
//	                                   └─── For has passed ─► over ◄───┘
//
// From over the flow is released with the answer that has waited, or when none came
// soon; and if something was swallowed, when that has come again. A RST may pass in any state; nothing is forged after it.
type stallState uint8

const (
	// Everything passes. The window that the end which will stall offers is
	// noted.
	stallWaiting stallState = iota

	// It has stopped reading, and nothing has arrived yet that it could have
	// read. Its window closes as its buffer fills. What it sends passes.
	stallFilling

	// It was sent data that it does not read. It is offered no window, so its
	// kernel keeps its answers back.
	stallSilent

	// It reads again.
	stallOver
)

// stall is the state of one flow. The end that stops reading is called the
// stalled side, and the other one its peer.
type stall struct {
	m       *Stall
	hangs   bool // it does not send either: see Hang
	trigger trigger
	state   stallState
	told    bool // it was noted that the peer is held up
	dead    bool // a RST has passed: there is no end to speak for

	edge     packet.Seq // the right edge of the window that was offered last
	hasEdge  bool
	shown    uint16 // the window that the peer was shown last
	hasShown bool   // it was shown one

	read    packet.Seq // what the stalled program may have read ends here
	hasRead bool
	acked   packet.Seq    // the highest acknowledgment that the peer got
	heard   time.Duration // when something last went to the stalled side

	cut    packet.Seq // the first sequence number that the stalled side sent without a window
	hasCut bool
	sent   packet.Seq    // one past the last that was swallowed behind cut
	over   time.Duration // when the stall ended
}

// begun reports whether the stall has begun, even if it is over.
func (s *stall) begun() bool { return s.state > stallWaiting }

func (s *stall) OnSegment(ev *Event, out *Effects) Verdict {
	if !s.begun() && s.trigger.onSegment(&s.m.At, ev, out) {
		s.begin(out, s.m.At.diverts().All)
	}
	if s.hangs && s.state == stallFilling && !ev.Seg.Flags().Any(packet.SYN|packet.RST) {
		s.hang(ev, out)
	}
	stalled := ev.Dir.From() == s.m.Side
	switch {
	case s.state == stallOver:
		return s.afterwards(ev, out)
	case ev.Seg.Flags().Has(packet.RST):
		s.dead = true
		return Pass
	case stalled && (!s.begun() || ev.Seg.Flags().Has(packet.SYN)):
		s.edge, s.hasEdge = s.offered(ev)
	}
	if !s.begun() {
		return Pass
	}
	s.learn(ev)
	switch {
	case ev.Seg.Flags().Has(packet.SYN):
		return Pass
	case stalled:
		return s.speaks(ev, out)
	}
	return s.hears(ev, out)
}

// begin starts the stall. watched says that every segment before was seen;
// otherwise the window seen last may be out of date.
func (s *stall) begin(out *Effects, watched bool) {
	s.state, s.hasEdge = stallFilling, s.hasEdge && watched
	out.Capture()
	if s.m.For > 0 {
		out.Wake(s.m.For)
	}
}

// learn notes where the unread data begins: after what the stalled side has
// acknowledged so far, and not before the segment that its peer sends now.
func (s *stall) learn(ev *Event) {
	from := &ev.Flow.Half[s.m.Side.Sends()]
	sent := ev.Dir.To() == s.m.Side && ev.Seg.SeqLen() > 0
	if s.hasRead || !sent && (ev.Dir.To() == s.m.Side || !from.HasAck) {
		return
	}
	s.read, s.hasRead = from.Ack, true
	if sent {
		first := ev.Seg.Seq()
		if ev.Seg.Flags().Has(packet.SYN) {
			first = first.Add(1)
		}
		if s.read = first; from.HasAck {
			s.read = packet.Max(first, from.Ack)
		}
	}
	s.acked = s.read
}

// hears judges a segment to the stalled side. From the first one with new data on,
// none of them offers a window. An ACK that says so goes ahead of that first one,
// with the sequence number after it: before 6.6 Linux does not let a segment with
// the same numbers as the last one take a window back (tcp_may_update_window).
func (s *stall) hears(ev *Event, out *Effects) Verdict {
	s.heard = ev.At
	if s.state == stallFilling && ev.Seg.SeqLen() > 0 && s.read.Less(ev.Seg.End()) {
		s.state = stallSilent
		s.shut(ev.Flow, out)
	}
	switch {
	case s.state != stallSilent || ev.Seg.Window() == 0:
		return Pass
	case !ev.Seg.Complete():
		out.Cut()
		return Pass
	}
	w := out.Copy(ev.Seg)
	w.SetWindow(0)
	w.UpdateChecksums()
	out.Replace(w)
	return Pass
}

// shut tells the stalled side, in its peer's name, that there is no window.
func (s *stall) shut(f *Flow, out *Effects) {
	peer := s.m.Side.Other().Sends()
	if a, ok := bareACK(f, peer, f.Half[peer].At, f.Half[peer].Next); ok {
		a.Window = 0
		out.Forge(a, nil)
	}
}

// bareACK is the segment without payload that the side sending in direction d would
// send at that time, with that sequence number. It acknowledges no more than the
// side has, since the connection lives on. At the time of the side's last timestamp
// it carries that same timestamp, so that PAWS rejects no later segment of the
// side, however slowly its clock ticks.
func bareACK(f *Flow, d Direction, at time.Duration, seq packet.Seq) (packet.Fields, bool) {
	a, ok := f.Like(d, at, packet.ACK)
	a.Seq, a.Ack = seq, f.Half[d].Ack
	return a, ok && f.Half[d].HasAck
}

// leastIdle is the shortest time after which a socket with nothing to send sends a
// keepalive probe (TCP_KEEPIDLE). A socket with something to send probes for a
// window after its retransmission timeout, 200 ms at least (tcp_probe0_base), and
// then repeatedly.
const leastIdle = time.Second

// speaks judges a segment of the stalled side.
func (s *stall) speaks(ev *Event, out *Effects) Verdict {
	seg := ev.Seg
	unread := s.hasRead && seg.Flags().Has(packet.ACK) && s.read.Less(seg.Ack())
	window := s.window(ev, unread)
	if !unread && !s.hangs {
		return s.show(ev, out, window, seg.End())
	}
	limit, news := s.limit(ev), s.acked.Less(seg.Ack())
	beyond := seg.SeqLen() > 0 && limit.Less(seg.End())
	asks := seg.SeqLen() == 0 && seg.Seq().Less(limit) && !news
	if beyond && !s.hasCut {
		s.cut, s.hasCut = limit, true
	}
	if beyond && (s.sent == 0 || s.sent.Less(seg.End())) {
		s.sent = seg.End()
	}
	if beyond || asks {
		if beyond || ev.At-s.heard < leastIdle+4*ev.Flow.RTT {
			s.tell(out)
		}
		s.heard = ev.At
		s.shut(ev.Flow, out)
	}
	if asks || beyond && !news && !seg.Seq().Less(limit) {
		return Drop // a kernel with nothing to send would send none of it
	}
	return s.show(ev, out, window, limit)
}

// limit is the sequence number from which on what the stalled side sends is held
// back: after everything of it that its peer may have received.
func (s *stall) limit(ev *Event) packet.Seq {
	limit := ev.Seg.Seq()
	if s.hasCut {
		limit = s.cut
	}
	if sent, ok := ev.Flow.Expects(ev.Dir); ok {
		limit = packet.Max(limit, sent)
	}
	return limit
}

// show lets the segment through to the peer, up to that limit and with that window.
func (s *stall) show(ev *Event, out *Effects, window uint16, limit packet.Seq) Verdict {
	seg := ev.Seg
	seq, flags, keep := seg.Seq(), seg.Flags(), seg.PayloadLen()
	if limit.Less(seg.End()) {
		flags &^= packet.FIN | packet.PSH
	}
	if seg.SeqLen() == 0 || !seq.Less(limit) {
		seq, keep = limit, 0
	}
	keep = min(keep, int(limit.Sub(seq)))
	switch {
	case keep > 0 && !seg.Complete():
		if keep < seg.PayloadLen() {
			return Drop
		}
		if window != seg.Window() {
			out.Cut()
		}
		window = seg.Window()
	case window != seg.Window() || seq != seg.Seq() || flags != seg.Flags() || keep != seg.PayloadLen():
		w := out.Copy(seg)
		w.SetWindow(window)
		w.SetSeq(seq)
		w.SetFlags(flags)
		out.Replace(w.Truncate(keep))
	}
	if window == 0 && seg.Window() > 0 {
		s.tell(out)
	}
	s.shown, s.hasShown, s.acked = window, true, packet.Max(s.acked, seg.Ack())
	return Pass
}

// tell notes, once, that the peer is held up: it gets no answer, or has no window
// left.
func (s *stall) tell(out *Effects) {
	if !s.told {
		s.told = true
		note := "the peer has stopped reading"
		if s.hangs {
			note = "the peer hangs"
		}
		out.Note(Held, s.m.Side.Other(), note)
	}
}

// atOnce is how soon after the stall an answer that has waited for its end arrives,
// a round trip not included.
const atOnce = 50 * time.Millisecond

// OnWake implements Waker: the stall begins by age, or is over.
func (s *stall) OnWake(ev *Event, out *Effects) {
	switch {
	case s.state == stallWaiting:
		if s.trigger.onWake(&s.m.At) {
			s.begin(out, false)
		}
	case s.state != stallOver:
		silent := s.state == stallSilent
		s.state, s.over = stallOver, ev.At
		if !s.dead {
			s.open(ev, out, silent)
		}
		switch {
		case silent && !s.dead && s.sent != 0:
			out.Wake(leastIdle)
		case silent && !s.dead:
			out.Wake(atOnce + ev.Flow.RTT)
		default:
			out.Release()
		}
	case s.sent != 0 && ev.At-s.over < longestRTO:
		out.Wake(leastIdle)
	default:
		out.Release()
	}
}

// longestRTO is how long TCP waits at most before it sends again what was swallowed
// (TCP_RTO_MAX).
const longestRTO = 2 * time.Minute

// open says in the stalled side's name that there is room again, if it had little,
// as a socket does when it is read (tcp_cleanup_rbuf). If the stalled side was
// silent, it also offers it a window in its peer's name, so that its answers come.
func (s *stall) open(ev *Event, out *Effects, silent bool) {
	d := s.m.Side.Sends()
	from, to := &ev.Flow.Half[d], &ev.Flow.Half[d.Flip()]
	next := from.Next
	if s.hasCut {
		next = s.cut
	}
	if f, ok := bareACK(ev.Flow, d, ev.At, next); ok && s.hasShown && int(f.Window) >= 2*int(s.shown) {
		out.Forge(f, nil)
	}
	if f, ok := bareACK(ev.Flow, d.Flip(), to.At, to.Next); ok && silent && f.Window > 0 {
		out.Forge(f, nil)
	}
}

// afterwards watches for an answer that has waited for the end of the stall: it is
// the only sign of a short one, and it is not lost. What was under way when the window
// closed was swallowed, and its sender's retransmission timer has it sent again.
func (s *stall) afterwards(ev *Event, out *Effects) Verdict {
	switch {
	case ev.Seg.Flags().Has(packet.RST):
		out.Release()
	case ev.Dir.From() != s.m.Side:
	case s.sent != 0:
		if s.sent.LessEq(ev.Seg.End()) {
			s.sent = 0
			out.Release()
		}
	case ev.Fresh:
		s.tell(out)
		out.Release()
	}
	return Pass
}
