package faults

import (
	"time"

	"github.com/faultctl/faultctl/faults/packet"
)

var stallKind = Kind{
	Name: "stall", Group: "reset",
	Cause:   "The peer has stopped reading: it hangs, is collecting garbage, or is itself waiting for something. Its window closes, and it does not answer.",
	Symptom: "The peer's kernel acknowledges a request, but no answer comes: reads wait. Writes succeed until the window and the send buffer are full, then block, or fail with EAGAIN. There is never an error, since the peer's kernel answers probes. What the peer wrote before still arrives.",
	Remedy:  "Set a deadline on reads and on writes; use backpressure instead of unbounded buffers. TCP_USER_TIMEOUT covers a closed window too, but not a request that has been acknowledged.",
	Example: "faultctl inject stall --for 30s --to :6379",
	Verify:  Verify{Settings: "for=1s"},
	New:     func() Model { return new(Stall) },
}

// Stall is the fault stall: the peer has stopped reading. Its window closes as
// data fills its buffer, never by taking back what it offered (RFC 9293 section
// 3.8.6), and its kernel goes on answering probes.
//
// Nor does it answer what it has not read. The program behind it reads on and
// answers: that waits in its own send buffer, because from the first new data that
// it is sent the other end offers it no window. So its TCP neither sends nor
// retransmits, and sends what waits as soon as the stall is over. What it sends
// before it has acknowledged new data passes: its program can have written that
// without reading.
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

// stall calls the end that has stopped reading the stalled one, and the other one
// its peer.
type stall struct {
	m       *Stall
	trigger trigger
	begun   bool
	over    bool
	told    bool // that the peer is held up
	dead    bool // a RST has passed: nobody is left to speak for

	edge     packet.Seq // the right edge of the window that was offered last
	hasEdge  bool
	shown    uint16 // the window that the peer was shown last
	hasShown bool   // it was shown one

	read    packet.Seq // what the stalled program may have read ends here
	hasRead bool
	mute    bool          // it was sent more than that: no window is offered to it
	acked   packet.Seq    // the highest acknowledgment that the peer got
	heard   time.Duration // when something last went to the stalled side

	cut    packet.Seq // the first number that the stalled side sent without a window
	hasCut bool
}

func (s *stall) OnSegment(ev *Event, out *Effects) Verdict {
	if !s.begun && s.trigger.onSegment(&s.m.At, ev, out) {
		s.begin(out, s.m.At.diverts().All)
	}
	stalled := ev.Dir.From() == s.m.Side
	switch {
	case s.over:
		return s.afterwards(ev, out)
	case ev.Seg.Flags().Has(packet.RST):
		s.dead = true
		return Pass
	case stalled && (!s.begun || ev.Seg.Flags().Has(packet.SYN)):
		s.edge, s.hasEdge = s.offered(ev)
	}
	if !s.begun {
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

// begin is the moment from which on nothing is read. watched says that every
// segment up to it was seen: else the last window that was may be an old one.
func (s *stall) begin(out *Effects, watched bool) {
	s.begun, s.hasEdge = true, s.hasEdge && watched
	out.Capture()
	if s.m.For > 0 {
		out.Wake(s.m.For)
	}
}

// learn takes down where the unread begins: behind what the stalled side has
// acknowledged by now, and not before the segment that its peer sends now.
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

// hears judges a segment to the stalled side. From the first with something new in it
// on none offers a window. Before that first one goes an ACK that says so, with the
// number behind it: by a segment with the numbers of the last Linux does not let a
// window be taken back before 6.6 (tcp_may_update_window).
func (s *stall) hears(ev *Event, out *Effects) Verdict {
	s.heard = ev.At
	if !s.mute && ev.Seg.SeqLen() > 0 && s.read.Less(ev.Seg.End()) {
		s.mute = true
		s.shut(ev.Flow, out)
	}
	switch {
	case !s.mute || ev.Seg.Window() == 0:
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
// side did: the connection lives on. At the time of the side's last timestamp it has
// that one, and no later segment of the side looks old beside it (PAWS), however
// slow its clock is.
func bareACK(f *Flow, d Direction, at time.Duration, seq packet.Seq) (packet.Fields, bool) {
	a, ok := f.Like(d, at, packet.ACK)
	a.Seq, a.Ack = seq, f.Half[d].Ack
	return a, ok && f.Half[d].HasAck
}

// leastIdle is the shortest time after which a socket that has nothing to say sends
// a keepalive probe (TCP_KEEPIDLE). One that has probes for a window after its
// retransmission timeout, 200 ms at least (tcp_probe0_base), and again.
const leastIdle = time.Second

// speaks judges a segment of the stalled side.
func (s *stall) speaks(ev *Event, out *Effects) Verdict {
	seg := ev.Seg
	unread := s.hasRead && seg.Flags().Has(packet.ACK) && s.read.Less(seg.Ack())
	window := s.window(ev, unread)
	if !unread {
		return s.show(ev, out, window, seg.End())
	}
	limit, news := s.limit(ev), s.acked.Less(seg.Ack())
	beyond := seg.SeqLen() > 0 && limit.Less(seg.End())
	asks := seg.SeqLen() == 0 && seg.Seq().Less(limit) && !news
	if beyond && !s.hasCut {
		s.cut, s.hasCut = limit, true
	}
	if beyond || asks {
		if beyond || ev.At-s.heard < leastIdle+4*ev.Flow.RTT {
			s.tell(out)
		}
		s.heard = ev.At
		s.shut(ev.Flow, out)
	}
	if asks || beyond && !news && !seg.Seq().Less(limit) {
		return Drop // nothing is left of it that a kernel would send which has nothing to say
	}
	return s.show(ev, out, window, limit)
}

// window is the window that the stalled side offers: to the edge that was offered
// last, rounded up (tcp_select_window). Where that is not known it closes with the
// first data that stays unread.
func (s *stall) window(ev *Event, unread bool) uint16 {
	if !s.hasEdge {
		s.edge, s.hasEdge = s.offered(ev)
	}
	window, scale := ev.Seg.Window(), s.scale(ev.Flow)
	switch left := int64(s.edge.Sub(ev.Seg.Ack())); {
	case s.hasEdge && left > 0:
		return uint16(min(int64(window), (left+1<<scale-1)>>scale))
	case s.hasEdge || unread:
		return 0
	}
	return window
}

// limit is where that which the stalled side has to say begins to be held back:
// behind all that its peer may have got of it.
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

// show lets the peer have the segment up to that limit, with that window.
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

// tell says once that the peer is held up: it gets no answer, or has no window left.
func (s *stall) tell(out *Effects) {
	if !s.told {
		s.told = true
		out.Note(Held, s.m.Side.Other(), "the peer has stopped reading")
	}
}

// atOnce is within what time after the stall an answer comes that has waited for its
// end, besides a round trip.
const atOnce = 50 * time.Millisecond

// OnWake implements Waker: the stall begins by age, or is over.
func (s *stall) OnWake(ev *Event, out *Effects) {
	switch {
	case !s.begun && s.trigger.onWake(&s.m.At):
		s.begin(out, false)
	case s.begun && !s.over:
		s.over = true
		if !s.dead {
			s.open(ev, out)
		}
		if s.mute && !s.told && !s.dead {
			out.Wake(atOnce + ev.Flow.RTT)
			return
		}
		out.Release()
	case s.over:
		out.Release()
	}
}

// open says in the stalled side's name that there is room again, if it had little,
// as a socket does when it is read (tcp_cleanup_rbuf); and in its peer's name that
// what has waited may come.
func (s *stall) open(ev *Event, out *Effects) {
	d := s.m.Side.Sends()
	from, to := &ev.Flow.Half[d], &ev.Flow.Half[d.Flip()]
	next := from.Next
	if s.hasCut {
		next = s.cut
	}
	if f, ok := bareACK(ev.Flow, d, ev.At, next); ok && s.hasShown && int(f.Window) >= 2*int(s.shown) {
		out.Forge(f, nil)
	}
	if f, ok := bareACK(ev.Flow, d.Flip(), to.At, to.Next); ok && s.mute && f.Window > 0 {
		out.Forge(f, nil)
	}
}

// afterwards looks for an answer that has waited for the stall's end, where no
// other sign of it was seen: the stall was short.
func (s *stall) afterwards(ev *Event, out *Effects) Verdict {
	if ev.Dir.From() == s.m.Side && ev.Fresh {
		s.tell(out)
		out.Release()
	}
	return Pass
}

// offered is the right edge of the window that the segment offers, if it is known.
// The window of a SYN is never scaled (RFC 7323 section 2.2), and without the SYN
// the scale is unknown.
func (s *stall) offered(ev *Event) (packet.Seq, bool) {
	if !ev.Flow.Half[ev.Dir].SYN || !ev.Seg.Flags().Has(packet.ACK) {
		return 0, false
	}
	scale := s.scale(ev.Flow)
	if ev.Seg.Flags().Has(packet.SYN) {
		scale = 0
	}
	return ev.Seg.Ack().Add(uint32(ev.Seg.Window()) << scale), true
}

// scale is the shift count of the stalled side: none unless both offered one
// (RFC 7323 section 2.2).
func (s *stall) scale(f *Flow) int8 {
	from, peer := &f.Half[s.m.Side.Sends()], &f.Half[s.m.Side.Sends().Flip()]
	if from.Scale < 0 || peer.Scale < 0 {
		return 0
	}
	return from.Scale
}
