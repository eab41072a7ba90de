package injector

import (
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"golang.org/x/sys/unix"
)

// What a local sender sends is copied, dropped and sent again where a fault holds
// it back (hold). TCP sends it in packets that stand for up to 45 segments each
// (GSO), which the host cuts up where they leave. So if the faults hold back most of
// it, it comes to us as it was made, by a queue of its own, and is cut here: the
// kernel then makes, queues and drops one packet where it would 45.
//
// How long the segments are the queue does not say. The kernel shows it: a packet
// of which it is not known is handed back, into the queue where packets come cut
// up, and comes again as segments. Those of the flow that follow go the same way
// until it has, so that nothing changes places.

// cutting is what is known of how the host cuts up a flow's packets.
type cutting struct {
	full packet.Seq    // the first byte of a packet handed back, whose first segment will be a full one
	sees bool          // full is set
	unit int           // length of a full segment with all its headers, by which Linux counts; 0: not known
	at   time.Duration // when that was seen
	back uint64        // the batch in which a packet was handed back last; 0: none

	id   uint16 // the identification of the next packet, if this one was cut as is known
	told bool   // id is set
}

// parts is the packet that is being cut up.
type parts struct {
	open  bool
	of    packet.Segment
	size  int // of the payload of each but the last
	from  int // where in the payload the one begins that is judged
	apart bool
	in    packetIn   // the segment that is judged
	bytes []byte     // of it
	whole verdictOut // the answer to the packet, as it grows
}

// mostCopied is what a message takes of a packet (NFQNL_MAX_COPY_RANGE): of one of
// that length there may be more.
const mostCopied = wholePacket - nlaHeader

// unitFor is for how long it is believed how long segments are. Other signs may
// tell sooner that it has changed, see cutting.doubt, but over IPv6 another path MTU
// shows by nothing else.
const unitFor = time.Second

// doubt forgets how long segments are if a packet says that it has changed: the one
// before it was cut into another number, for Linux numbers the segments that a socket
// sends. What is not numbered may say so by being sent again: perhaps it was too long.
// If something is missing before it, what passed unjudged took the numbers. before is
// what its side had sent before.
func (c *cutting) doubt(s packet.Segment, before *faults.Half) {
	switch {
	case !s.DF():
		if again(s, before) {
			c.unit = 0
		}
	case c.told && s.ID() != c.id && !(before.Seen && before.Next.Less(s.Seq())):
		c.unit = 0
	}
}

// again reports whether a packet is sent again.
func again(s packet.Segment, before *faults.Half) bool {
	return s.PayloadLen() > 0 && before.Seen && s.Seq().Less(before.Next)
}

// count takes down that a packet stands for so many segments, 0 if that is not
// known.
func (c *cutting) count(s packet.Segment, n int) {
	c.id, c.told = s.ID()+uint16(n), n > 0
}

// size is how long the payload of each segment of an uncut packet is but the last,
// and false if that is not known for sure.
func (c *cutting) size(s packet.Segment, before *faults.Half, now time.Duration) (int, bool) {
	size := c.unit - s.HeaderLen()
	switch n := s.PayloadLen(); {
	case c.unit == 0 || now-c.at > unitFor:
	case !s.Complete() || len(s.Bytes()) >= mostCopied || s.Flags()&^(packet.ACK|packet.PSH|packet.FIN) != 0: // for the kernel to cut
	case size <= 0 || n <= size: // it would not stand for several
	case n%size != 0 && !s.Flags().Any(packet.PSH|packet.FIN): // the last one of what was written may be short
	case again(s, before): // perhaps it was too long
	default:
		return size, true
	}
	return 0, false
}

// learn looks at a segment that the kernel has cut.
func (c *cutting) learn(s packet.Segment, now time.Duration) {
	if c.sees && s.Seq() == c.full && s.PayloadLen() > 0 {
		c.unit, c.at, c.sees = s.HeaderLen()+s.PayloadLen(), now, false
	}
}

// handleUncut judges a packet that came as its local sender made it.
func (w *worker) handleUncut(p *packetIn, f *entry, dir faults.Direction, seg packet.Segment, now time.Duration) {
	c := &f.cuts
	if f.chain == nil {
		w.judge(p, f, dir, seg, now)
		return
	}
	away := c.back != 0 && w.emptied <= c.back // the queue was not empty since
	c.doubt(seg, &f.Half[dir])
	size, known, n := 0, true, 1
	if p.gso {
		if size, known = c.size(seg, &f.Half[dir], now); known {
			n = (seg.PayloadLen() + size - 1) / size
		} else {
			n = 0
		}
	}
	c.count(seg, n)
	if away || !known {
		if p.gso && !away {
			c.full, c.sees = seg.Seq(), true
		}
		c.back = w.batch
		f.last = f.before // it has yet to come
		w.comeAgain(p)
		return
	}
	if size == 0 {
		if p.partial && seg.Complete() {
			seg.UpdateChecksums()
			p.partial = false
		}
		w.judge(p, f, dir, seg, now)
		return
	}
	w.judgeParts(p, f, dir, seg, size, now)
}

// comeAgain hands a packet back for the kernel to cut it up. Its segments will be
// counted.
func (w *worker) comeAgain(p *packetIn) {
	w.back = w.batch
	w.again++
	w.totals.segments.Add(-1)
	w.queue.verdict(verdictOut{id: p.id, again: true})
}

// pieceOf reports whether a packet is a segment of one that was handed back.
func (w *worker) pieceOf(p *packetIn) bool {
	return w.apart && p.hook == unix.NF_INET_LOCAL_OUT && !p.id.uncut()
}

// judgeParts cuts a packet up and judges its segments one after the other. If all
// of them simply go on, so does the packet, as it is. Else it is dropped; what of it
// goes on at once leaves as copies do, and after the kernel knows what the verdicts
// on the segments have to say.
func (w *worker) judgeParts(p *packetIn, f *entry, dir faults.Direction, seg packet.Segment, size int, now time.Duration) {
	t := &w.parts
	t.open, t.apart, t.whole = true, false, verdictOut{id: p.id, priority: p.priority}
	t.of, t.size, t.in = seg, size, *p
	t.in.gso, t.in.partial = false, false
	for t.from = 0; t.from < seg.PayloadLen(); t.from += size {
		t.bytes = seg.AppendPart(t.bytes[:0], t.from, size)
		t.in.bytes = t.bytes
		s, err := packet.Parse(t.bytes)
		if err != nil {
			continue // unreachable: the whole was parsed
		}
		if t.from > 0 {
			w.totals.diverted.Add(1)
			w.totals.segments.Add(1)
		}
		w.judge(&t.in, f, dir, s, now)
	}
	t.open = false
	w.answer(t.whole, f, dir)
	if len(w.leaving) > 0 {
		w.flush()
		w.leave()
	}
}

// takeApart has the segments of what is cut up here leave one by one: those that
// were to go on with the packet go now, for something follows that must not overtake
// them.
func (w *worker) takeApart(f *entry, dir faults.Direction) {
	t := &w.parts
	if !t.open || t.apart {
		return
	}
	t.apart, t.whole.drop = true, true
	for from := 0; from < t.from; from += t.size {
		w.goesOn(t.of.AppendPart(w.copyOf(nil), from, t.size), f, dir)
	}
}

// answerPart is answer for one segment of what is cut up here. Of two signals that
// contradict each other the later one stands.
func (w *worker) answerPart(v verdictOut, f *entry, dir faults.Direction) {
	t := &w.parts
	if v.signal&sigRelease != 0 {
		t.whole.signal &^= sigCapture
	}
	if v.signal&sigCapture != 0 {
		t.whole.signal &^= sigRelease
	}
	t.whole.signal |= v.signal
	if v.drop || v.bytes != nil {
		w.takeApart(f, dir)
	}
	switch {
	case v.drop || !t.apart:
	case v.bytes != nil:
		w.goesOn(w.copyOf(v.bytes), f, dir)
	default:
		w.goesOn(w.copyOf(t.bytes), f, dir)
	}
}

// goesOn has a copy of a segment leave soon.
func (w *worker) goesOn(pkt []byte, f *entry, dir faults.Direction) {
	if len(w.leaving) == batchSize {
		w.flush()
		w.leave()
	}
	w.leaving = append(w.leaving, packetOut{pkt, f.mark[dir], f.iface})
}
