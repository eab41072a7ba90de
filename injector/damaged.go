package injector

import (
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"golang.org/x/sys/unix"
)

// damaged judges a segment whose checksum is wrong, and reports whether it is one. Its
// receiver will discard it unread, so nothing of it belongs to the connection, and no
// fault that speaks for an end is asked about it: a host does not answer what it
// discards. Only faults of the path see it. A copy that ends before the payload cannot
// be verified, and is taken to be whole.
func (w *worker) damaged(p *nfqueue.Packet, seg packet.Segment, now time.Duration) bool {
	if p.Partial || p.GSO || !seg.Complete() || seg.ChecksumOK() {
		return false
	}
	f, dir := w.find(seg, now)
	if f == nil {
		f, dir = w.flow(seg, p.Hook == unix.NF_INET_LOCAL_OUT || p.ByLoopback(), now)
	}
	if f.chain == nil {
		w.queue.Verdict(nfqueue.Verdict{ID: p.ID})
		return true
	}
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
	return true
}
