package injector

import (
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
)

// isDamaged reports whether a checksum of the packet is wrong. What a device has
// verified is right, and a copy that ends before the payload is taken to be.
func isDamaged(p *nfqueue.Packet, seg packet.Segment) bool {
	return p.Unverified && !p.Partial && !p.GSO && seg.Complete() && !seg.ChecksumOK()
}

// damaged judges a segment whose receiver will discard it unread. Nothing of it belongs
// to the connection, and no fault that speaks for an end is asked about it, since a host
// does not answer what it discards: only faults of the path are.
func (w *worker) damaged(p *nfqueue.Packet, seg packet.Segment, local bool, now time.Duration) {
	f, dir := w.find(seg, now)
	if f == nil { // a SYN of another connection does not end the one that is known
		f, dir = w.flow(seg, local, now)
	}
	if f.chain == nil {
		w.queue.Verdict(nfqueue.Verdict{ID: p.ID})
	} else {
		w.judgeDamaged(p, f, dir, seg, now)
	}
	w.rank(f)
	w.mayPark(f, now)
}

// judgeDamaged is judge for such a segment. No outcome depends on it.
func (w *worker) judgeDamaged(p *nfqueue.Packet, f *entry, dir faults.Direction, seg packet.Segment, now time.Duration) {
	f.route(dir, p.Mark, p.Iface)
	w.out.Reset()
	w.ev = faults.Event{At: now, Dir: dir, Seg: seg, Flow: &f.Flow, Damaged: true, Rand: f.rng}
	v, who := f.chain.OnSegment(&w.ev, &w.out)
	if w.draining.begun {
		w.out.Hold = 0
	}
	for _, c := range f.links {
		c.diverted.Add(1)
	}
	w.note(f, who, v == faults.Drop)
	if w.tap != nil {
		delay, _ := w.delay(f, dir, &w.out, now)
		w.tap.judged(p, f, now, v, &w.out, delay)
	}
	w.commit(p, f, dir, seg, v, now)
}
