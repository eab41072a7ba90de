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

// If a fault holds what a local sender sends, it is copied, dropped and sent again
// (hold). TCP sends it in GSO packets that stand for up to 45 segments each, and the
// host segments them where they leave. So if the faults hold most of it, it is handed
// over unsegmented, in a queue of its own, and is segmented here: the kernel then
// makes, queues and drops one packet instead of 45.
//
// The queue does not tell the size of the segments, so the worker learns it from the
// kernel: a packet whose segment size is not known is handed back, into the queue where
// packets come segmented, and comes again as segments. Later packets of the flow go the
// same way until it has come, so that they are not reordered.

// superPacket is a GSO packet while it is segmented.
type superPacket struct {
	open     bool
	of       packet.Segment
	size     int             // payload of each segment but the last
	from     int             // where in the payload the current segment begins
	separate bool            // the segments leave one by one, not with the packet
	in       nfqueue.Packet  // the current segment, as a packet
	bytes    []byte          // of the current segment
	whole    nfqueue.Verdict // the verdict on the packet, from those on its segments so far
}

// segmenter knows how GSO packets are segmented, and which packets were handed back to
// the kernel and have not come again yet. It belongs to one worker.
type segmenter struct {
	gsoQueue bool        // GSO packets of local senders have a queue of their own
	super    superPacket // the current one

	batch       uint64 // number of the current batch
	emptied     uint64 // the last batch that left nothing in the queue
	requeued    uint64 // the last batch in which a packet was handed back; 0: none
	requeuedNow int    // how many packets were handed back in the current batch
}

// gsoPlan is how a GSO packet is judged.
type gsoPlan uint8

const (
	judgeAsIs       gsoPlan = iota // it is a segment, or judged as one
	judgeInSegments                // it is segmented here
	cutByKernel                    // the kernel must segment it
)

// plan decides how a packet of a flow with state c is judged. before is what its side
// had sent before. size is the length of the payload of each segment but the last.
func (s *segmenter) plan(p *nfqueue.Packet, c *gsoState, seg packet.Segment, before *faults.Half, now time.Duration) (plan gsoPlan, size int) {
	away := c.requeued != 0 && s.emptied <= c.requeued // the queue has not been empty since
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

// handleGSO judges a packet from the queue for GSO packets.
func (w *worker) handleGSO(p *nfqueue.Packet, f *entry, dir faults.Direction, seg packet.Segment, now time.Duration) {
	if f.chain == nil {
		w.judge(p, f, dir, seg, now)
		return
	}
	switch plan, size := w.plan(p, &f.gso, seg, &f.Half[dir], now); plan {
	case cutByKernel:
		f.last = f.before // it will come again
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

// requeue hands a packet back to the kernel, to be segmented. Its segments will be
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

// judgeSegments segments a packet and judges its segments one after the other. If all
// of them simply pass, so does the packet, unchanged. Otherwise it is dropped, and
// those of its segments that pass leave as copies, after the kernel has learned what
// the verdicts on the segments say.
func (w *worker) judgeSegments(p *nfqueue.Packet, f *entry, dir faults.Direction, seg packet.Segment, size int, now time.Duration) {
	t := &w.super
	t.open, t.separate, t.whole = true, false, nfqueue.Verdict{ID: p.ID, Priority: p.Priority}
	t.of, t.size, t.in = seg, size, *p
	t.in.GSO, t.in.Partial = false, false
	more := (seg.PayloadLen() - 1) / size // the packet itself counts as one segment
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

// separate makes the segments of the current GSO packet leave one by one: those that
// were to leave with the packet leave now, because something follows that must not
// overtake them.
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

// answerSegment gives the verdict on one segment of a GSO packet.
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

// passCopy makes a copy of a segment leave soon.
func (w *worker) passCopy(pkt []byte, f *entry, dir faults.Direction) {
	if len(w.copies) == rawsock.BatchSize {
		w.flush()
		w.flushCopies()
	}
	w.rename(f, pkt)
	w.copy(rawsock.Packet{Bytes: pkt, Mark: f.mark[dir], Iface: f.iface}, copied{f, dir, false})
}
