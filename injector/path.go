package injector

import (
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
	"golang.org/x/sys/unix"
)

// The path of a packet: receive it, parse it, find its flow, observe it, let the faults
// decide, and commit what they decided. For packets of known flows, nothing here or in
// what it relies on allocates, locks, logs or formats.

// run receives packets and judges them until stop. Between two batches it does what is
// due. At the end it lets everything pass that is left in the queue.
func (w *worker) run() error {
	for !w.stopping.Load() {
		now := w.clock()
		w.dog.Kick(now)
		w.since(now)
		w.runPosted()
		w.runTimers(now)
		w.wakeParked(now)
		w.parkIdle(now)
		w.watcher.Due(now)
		w.flush()
		w.tellDrained()
		asked := w.clock()
		wait := w.patience(asked)
		r, err := w.queue.Receive(w.pkts[:], wait)
		if err != nil {
			return err
		}
		w.batch++
		n, received := r.N, w.clock()
		w.backlog.received(r, asked, wait, received)
		w.outbox.arrived, w.heldNow = w.backlog.arrived, 0
		if !w.gsoQueue {
			w.received(n)
		}
		for i := range n {
			w.handle(&w.pkts[i])
			if p := &w.pkts[i]; p.GSO && p.ID.InGSO() { // a GSO packet stands for as many segments as a batch
				w.flush()
				w.runTimers(w.clock())
			}
		}
		if w.gsoQueue { // now it is known which of them will come again
			w.received(n)
		}
		if !r.More {
			w.emptied = w.batch
			w.watcher.CaughtUp(received)
		}
		w.backlog.mark(w.clock())
		w.flush()
		w.totals.latency.observe(w.clock()-w.backlog.arrived, n-min(n, w.heldNow))
	}
	err := w.emptyQueue()
	w.endOutcomes()
	return err
}

// handle judges one packet.
func (w *worker) handle(p *nfqueue.Packet) {
	seg, err := packet.Parse(p.Bytes)
	if err != nil { // a fragment, or not TCP at all: not ours
		if p.GSO && p.ID.InGSO() { // we cannot segment it either
			w.requeue(p)
			return
		}
		w.totals.foreign.Add(1)
		w.queue.Verdict(nfqueue.Verdict{ID: p.ID})
		return
	}
	now := w.clock()
	if w.backlog.sheds() && w.shed(p, seg, now) {
		return
	}
	local := p.Hook == unix.NF_INET_LOCAL_OUT || p.ByLoopback()
	if isDamaged(p, seg) {
		w.damaged(p, seg, local, now)
		return
	}
	f, dir := w.flow(seg, local, now)
	f.route(dir, p.Mark, p.Iface)
	f.alias.met(p.Hook, dir)
	if p.ID.InGSO() {
		w.handleGSO(p, f, dir, seg, now)
	} else {
		if w.isRequeued(p) {
			w.totals.segments.Add(1)
			f.gso.learn(seg, now)
		}
		w.judge(p, f, dir, seg, now)
	}
	w.rank(f)
	w.mayPark(f, now)
}

// flow returns the flow that the segment belongs to, and creates it if it is new. The
// rules are asked once, on the first segment of a flow. They are asked again, after
// they have changed, about a flow that none had chosen or whose faults were ended by a
// pause. What such a flow did in the meantime has not been seen, so it starts anew.
// local says that a program of this host may have sent the segment.
func (w *worker) flow(seg packet.Segment, local bool, now time.Duration) (*entry, faults.Direction) {
	e, dir := w.find(seg, now)
	if e != nil && startsAnew(e, dir, seg) {
		w.bury(e, now)
		e.superseded = true
		w.flows.remove(e)
		e = nil
	}
	var before *entry
	if e != nil && e.chain == nil && e.askedAt != w.changes.Load() {
		before = e
		e.superseded = true // what the kernel's sets have of it holds for the new entry
		w.flows.remove(e)
		e = nil
	}
	if e != nil {
		e.before = e.last
		w.flows.touch(e, now)
		return e, dir
	}
	if before == nil {
		dir = direct(w.rules, seg)
		if beginsFlow(seg) {
			w.backlog.unknown++
		}
	}
	e = &entry{timer: faults.Never, fresh: seg.Flags().Has(packet.SYN), askedAt: w.changes.Load()}
	e.Client, e.Server = seg.SrcAddrPort(), seg.DstAddrPort()
	if dir == faults.Reply {
		e.Client, e.Server = e.Server, e.Client
	}
	e.openBefore, e.Since = !e.fresh, w.since(now)
	e.signed = seg.Signed()
	if e.fresh {
		e.before = now
	}
	if before != nil {
		e.openBefore = before.openBefore
	}
	if w.names != nil {
		dir = w.learnName(e, dir)
	}
	w.match(e, before, local && e.fresh && dir == faults.Original, now)
	w.add(e, now)
	return e, dir
}

// judge asks the faults about a segment, and carries out what they decide.
func (w *worker) judge(p *nfqueue.Packet, f *entry, dir faults.Direction, seg packet.Segment, now time.Duration) {
	fresh := f.Observe(now, dir, seg)
	if f.dials && dir == faults.Original && !seg.Flags().Has(packet.SYN) {
		w.connected(f)
	}
	w.out.Reset()
	if f.chain == nil {
		w.pass(p, f, dir, seg, 0, now)
		return
	}
	if n := w.adjusted.Load(); f.adjustedAt != n {
		w.adjust(f, n)
	}
	w.ev = faults.Event{At: now, Dir: dir, Seg: seg, Fresh: fresh, Flow: &f.Flow, Busy: w.mixed.Load() && w.busy(f, now), Rand: f.rng}
	w.watcher.Met(f.outcome, p.Hook, p.ByLoopback(), dir)
	v, who := f.chain.OnSegment(&w.ev, &w.out)
	d := w.decision(f, v, who)
	if d.Acts() && !w.watcher.MayStrike(f.outcome, &d, f.Segments <= 1, now) {
		w.pass(p, f, dir, seg, w.leave(f, now), now)
		return
	}
	if w.draining.begun {
		w.out.Hold = 0
	}
	if w.out.WasCut() {
		w.totals.cut.Add(1)
	}
	for _, c := range f.links {
		c.diverted.Add(1)
	}
	w.watcher.Segment(f.outcome, dir, seg, &d, now)
	w.note(f, who, v == faults.Drop)
	w.watcher.Conclude(f.outcome, w.leaves(), now)
	if w.tap != nil {
		delay, _ := w.delay(f, dir, &w.out, now)
		w.tap.judged(p, f, now, v, &w.out, delay)
	}
	w.commit(p, f, dir, seg, v, now)
}

// pass accepts a packet of a flow that no fault is asked about, and releases the flow.
// sig is what else the kernel's sets must learn.
func (w *worker) pass(p *nfqueue.Packet, f *entry, dir faults.Direction, seg packet.Segment, sig ruleset.Signal, now time.Duration) {
	sig |= w.forget(f)
	w.watcher.Passed(f.outcome, dir, seg, now)
	if !w.watcher.Keeps(f.outcome, f.armed(), now) {
		if f.release(now) {
			sig |= ruleset.Release
		}
	}
	f.Pass(dir, seg)
	f.reset = seg.Flags().Has(packet.RST)
	w.answer(nfqueue.Verdict{ID: p.ID, Priority: p.Priority, Signal: uint32(sig)}, f, dir)
}

// leave ends the faults of a connection that must not be struck. It returns what the
// kernel's sets must learn: that the connection is released.
func (w *worker) leave(f *entry, now time.Duration) (sig ruleset.Signal) {
	f.chain = nil
	w.finish(f, now)
	if f.captured {
		sig |= ruleset.Forget
	}
	f.captured, f.released, f.toldAt = false, true, now
	return sig | ruleset.Release
}

// commit carries out what the faults decided. It is the only place where a segment has
// side effects: forged segments are sent first, then the verdict.
func (w *worker) commit(p *nfqueue.Packet, f *entry, dir faults.Direction, seg packet.Segment, v faults.Verdict, now time.Duration) {
	var delay time.Duration
	if v != faults.Drop || w.out.Split() {
		delay, _ = w.delay(f, dir, &w.out, now)
	}
	w.sendForged(f, dir, delay, now, nil)
	out := nfqueue.Verdict{ID: p.ID, Drop: v == faults.Drop, Priority: p.Priority, Signal: uint32(w.signals(f, now))}
	passing := seg
	if r, ok := w.out.Replaced(); ok && !out.Drop && r.Complete() { // headers alone cannot be sent
		out.Bytes, passing = r.Bytes(), r
		out.Tag = w.watcher.Replaced(f.outcome, dir, r, now)
	}
	f.reset = passing.Flags().Has(packet.RST) && !out.Drop && !w.ev.Damaged
	if (!out.Drop || w.out.Split()) && !passing.Flags().Has(packet.RST) && !w.ev.Damaged {
		f.Pass(dir, passing)
	}
	if out.Bytes != nil && p.GSO { // the kernel would lose what is removed from a GSO packet in place
		w.rename(f, out.Bytes)
		w.transmitNow(f, dir, out.Bytes, p.Mark, p.Iface)
		out.Bytes, out.Drop, out.Tag = nil, true, 0
	}
	if !out.Drop && w.hold(p, f, dir, &out, &w.out, passing, now) {
		return
	}
	w.answer(out, f, dir)
}

// signals returns what the kernel's sets must learn about the flow.
func (w *worker) signals(f *entry, now time.Duration) ruleset.Signal {
	sig := w.forget(f)
	switch {
	case w.out.Captured() && !f.captured:
		f.captured, f.released = true, false
		sig |= ruleset.Capture
	case w.out.Released() && !w.watcher.Keeps(f.outcome, f.armed(), now) && f.release(now):
		if f.captured {
			sig |= ruleset.Forget
		}
		f.captured = false
		sig |= ruleset.Release
	}
	if w.out.Admitted() {
		sig |= ruleset.Admit
	}
	return sig
}

// forget returns the signal of a flow's first SYN: what the sets have under its
// addresses and ports belongs to an older connection.
func (w *worker) forget(f *entry) ruleset.Signal {
	if !f.fresh {
		return 0
	}
	f.fresh = false
	return ruleset.Forget
}

// answer gives a verdict. A drop that the sets must learn of is sent as an accept with
// ruleset.Drop: the rules drop the packet once the sets are changed.
func (w *worker) answer(v nfqueue.Verdict, f *entry, dir faults.Direction) {
	if w.super.open {
		w.answerSegment(v, f, dir)
		return
	}
	if v.Signal != 0 && w.bySet {
		w.answerBySet(v, f)
		return
	}
	if v.Signal != 0 {
		sig := ruleset.Signal(v.Signal)
		if dir == faults.Reply {
			sig |= ruleset.Reply
		}
		if v.Drop {
			v.Drop, sig = false, sig|ruleset.Drop
		}
		v.Signal = uint32(sig)
	}
	w.queue.Verdict(v)
}
