package injector

import (
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/rawsock"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
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
// until it has, so that they are not reordered.

// superPacket is the packet that is being cut up.
type superPacket struct {
	open     bool
	of       packet.Segment
	size     int             // of the payload of each but the last
	from     int             // where in the payload the one begins that is judged
	separate bool            // they leave by themselves, not with the packet
	in       nfqueue.Packet  // the segment that is judged
	bytes    []byte          // of it
	whole    nfqueue.Verdict // the answer to the packet, as it grows
}

// segmenter knows how packets that stand for several segments are cut up, and which of
// them were handed back to the kernel and have yet to come again. It belongs to one
// worker.
type segmenter struct {
	gsoQueue bool        // what local senders send comes as they made it, in a queue of its own
	super    superPacket // the one at hand

	batch       uint64 // counts receives
	emptied     uint64 // the last of those that left nothing in the queue
	requeued    uint64 // the last in which a packet was handed back; 0: none
	requeuedNow int    // how many were in the batch at hand
}

// gsoPlan is what becomes of a packet that came as its local sender made it.
type gsoPlan uint8

const (
	judgeAsIs       gsoPlan = iota // it is a segment, or judged as one
	judgeInSegments                // it is cut up here
	cutByKernel                    // the kernel is to cut it up
)

// plan says what becomes of a packet of a flow whose state is c. before is what its side
// had sent before. size is how long the payload of each segment is but the last.
func (s *segmenter) plan(p *nfqueue.Packet, c *gsoState, seg packet.Segment, before *faults.Half, now time.Duration) (plan gsoPlan, size int) {
	away := c.requeued != 0 && s.emptied <= c.requeued // the queue was not empty since
	c.doubt(seg, before)
	known, n := true, 1
	if p.GSO {
		if size, known = c.size(seg, before, now); known {
			n = (seg.PayloadLen() + size - 1) / size
		} else {
			n = 0
		}
	}
	c.count(seg, n)
	switch {
	case away || !known:
		if p.GSO && !away {
			c.full, c.sees = seg.Seq(), true
		}
		c.requeued = s.batch
		return cutByKernel, 0
	case size == 0:
		return judgeAsIs, 0
	}
	return judgeInSegments, size
}

// handleGSO judges a packet that came as its local sender made it.
func (w *worker) handleGSO(p *nfqueue.Packet, f *entry, dir faults.Direction, seg packet.Segment, now time.Duration) {
	if f.chain == nil {
		w.judge(p, f, dir, seg, now)
		return
	}
	switch plan, size := w.plan(p, &f.gso, seg, &f.Half[dir], now); plan {
	case cutByKernel:
		f.last = f.before // it has yet to come
		w.requeue(p)
	case judgeInSegments:
		w.judgeSegments(p, f, dir, seg, size, now)
	case judgeAsIs:
		if p.Partial && seg.Complete() {
			seg.UpdateChecksums()
			p.Partial = false
		}
		w.judge(p, f, dir, seg, now)
	}
}

// requeue hands a packet back for the kernel to cut it up. Its segments will be
// counted.
func (w *worker) requeue(p *nfqueue.Packet) {
	w.requeued = w.batch
	w.requeuedNow++
	w.totals.segments.Add(-1)
	w.queue.Verdict(nfqueue.Verdict{ID: p.ID, Again: true})
}

// isRequeued reports whether a packet is a segment of one that was handed back.
func (s *segmenter) isRequeued(p *nfqueue.Packet) bool {
	return s.gsoQueue && p.Hook == unix.NF_INET_LOCAL_OUT && !p.ID.InGSO()
}

// judgeSegments cuts a packet up and judges its segments one after the other. If all
// of them simply go on, so does the packet, as it is. Else it is dropped; what of it
// goes on at once leaves as copies do, and after the kernel knows what the verdicts
// on the segments have to say.
func (w *worker) judgeSegments(p *nfqueue.Packet, f *entry, dir faults.Direction, seg packet.Segment, size int, now time.Duration) {
	t := &w.super
	t.open, t.separate, t.whole = true, false, nfqueue.Verdict{ID: p.ID, Priority: p.Priority}
	t.of, t.size, t.in = seg, size, *p
	t.in.GSO, t.in.Partial = false, false
	more := (seg.PayloadLen() - 1) / size // segments, besides the one that the packet counts as
	for t.from = 0; t.from < seg.PayloadLen(); t.from += size {
		t.bytes = seg.AppendPart(t.bytes[:0], t.from, size)
		t.in.Bytes = t.bytes
		s, err := packet.Parse(t.bytes)
		if err != nil {
			continue // unreachable: the whole was parsed
		}
		w.judge(&t.in, f, dir, s, now)
	}
	t.open = false
	w.totals.diverted.Add(uint64(more))
	w.totals.segments.Add(int64(more))
	w.answer(t.whole, f, dir)
	if len(w.copies) > 0 {
		w.flush()
		w.flushCopies()
	}
}

// separate has the segments of what is cut up here leave one by one: those that
// were to go on with the packet go now, for something follows that must not overtake
// them.
func (w *worker) separate(f *entry, dir faults.Direction) {
	t := &w.super
	if !t.open || t.separate {
		return
	}
	t.separate, t.whole.Drop = true, true
	for from := 0; from < t.from; from += t.size {
		w.passCopy(t.of.AppendPart(w.copyOf(nil), from, t.size), f, dir)
	}
}

// answerSegment is answer for one segment of what is cut up here.
func (w *worker) answerSegment(v nfqueue.Verdict, f *entry, dir faults.Direction) {
	t := &w.super
	t.whole.Signal = uint32(ruleset.Signal(t.whole.Signal).And(ruleset.Signal(v.Signal)))
	if v.Drop || v.Bytes != nil {
		w.separate(f, dir)
	}
	switch {
	case v.Drop || !t.separate:
	case v.Bytes != nil:
		w.passCopy(w.copyOf(v.Bytes), f, dir)
	default:
		w.passCopy(w.copyOf(t.bytes), f, dir)
	}
}

// passCopy has a copy of a segment leave soon.
func (w *worker) passCopy(pkt []byte, f *entry, dir faults.Direction) {
	if len(w.copies) == rawsock.BatchSize {
		w.flush()
		w.flushCopies()
	}
	w.rename(f, pkt)
	w.copy(rawsock.Packet{Bytes: pkt, Mark: f.mark[dir], Iface: f.iface}, copied{f, dir, false})
}
