package injector

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/rawsock"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
	"github.com/faultctl/faultctl/injector/internal/watchdog"
)

// worker owns one queue and all its flows, so flows need no locks. A packet
// goes through it in a straight line: parse, match, observe, decide, commit.
type worker struct {
	*shared
	queue  queue
	sender sender
	dog    watchdog.Handle
	report *reporter // nil: nobody listens
	tap    *tap      // nil: nobody wants to see packets
	sets   setWriter

	noticed   uint32        // what changes was when the worker last looked
	changedAt time.Duration // when it had become that

	flows    *flowTable
	parked   *parkedFlows // see park.go
	idle     idleQueue
	timers   timers
	pkts     [nfqueue.BatchSize]nfqueue.Packet
	ev       faults.Event
	out      faults.Effects
	buf      []byte   // the packet being built
	recycled [][]byte // of packets that have left: see copyOf

	gsoQueue    bool // what local senders send comes as they made it, in a queue of its own
	segmenter   segmenter
	batch       uint64 // counts receives
	emptied     uint64 // the last of those that left nothing in the queue
	requeued    uint64 // the last in which a packet was handed back; 0: none
	requeuedNow int    // how many were in the batch at hand

	single       [1]rawsock.Packet
	copies       []rawsock.Packet // sent with the next system call: see depart
	verdictsKept bool             // verdicts on what was held go with the next one
	outputKept   bool             // and one of them on a local sender's packet

	changing int // changes of the sets by the setWriter under way

	draining draining
	stopping atomic.Bool
	posted   atomic.Bool
	mu       sync.Mutex
	inbox    []func() // from other goroutines, to be run by the worker
}

// newWorker makes the worker of a queue. One goroutine uses it, but for what says that
// any may.
func newWorker(s *shared, q queue, out sender, sets setWriter, dog watchdog.Handle) *worker {
	w := &worker{shared: s, queue: q, sender: out, sets: sets, dog: dog, flows: newFlowTable(), parked: newParkedFlows()}
	w.flows.forgotten = w.forgotten
	return w
}

// handle judges one packet.
func (w *worker) handle(p *nfqueue.Packet) {
	seg, err := packet.Parse(p.Bytes)
	if err != nil { // a fragment, or no TCP after all: not ours
		if p.GSO && p.ID.InGSO() { // nor can we cut it up
			w.requeue(p)
			return
		}
		w.totals.foreign.Add(1)
		w.queue.Verdict(nfqueue.Verdict{ID: p.ID})
		return
	}
	now := w.clock()
	f, dir := w.flow(seg, now)
	f.route(dir, p.Mark, p.Iface)
	if p.ID.InGSO() {
		w.handleGSO(p, f, dir, seg, now)
	} else {
		if w.isRequeued(p) {
			w.totals.segments.Add(1)
			f.gso.learn(seg, now)
		}
		w.judge(p, f, dir, seg, now)
	}
	w.mayPark(f, now)
}

// judge asks the faults about a segment, and carries out what they decide.
func (w *worker) judge(p *nfqueue.Packet, f *entry, dir faults.Direction, seg packet.Segment, now time.Duration) {
	fresh := f.Observe(now, dir, seg)
	w.out.Reset()
	if f.chain == nil {
		w.pass(p, f, dir, seg, now)
		return
	}
	if n := w.adjusted.Load(); f.adjustedAt != n {
		w.adjust(f, n)
	}
	w.ev = faults.Event{At: now, Dir: dir, Seg: seg, Fresh: fresh, Flow: &f.Flow, Busy: w.wants.Load().mixed && w.busy(f, now), Rand: f.rng}
	v, who := f.chain.OnSegment(&w.ev, &w.out)
	if w.draining.begun {
		w.out.Hold = 0
	}
	if w.out.WasCut() {
		w.totals.cut.Add(1)
	}
	for _, c := range f.links {
		c.diverted.Add(1)
	}
	w.note(f, who, v == faults.Drop)
	if w.tap != nil {
		delay, _ := w.delay(f, dir, now)
		w.tap.judged(p, f, now, v, &w.out, delay)
	}
	w.commit(p, f, dir, seg, v, now)
}

// flow returns the flow that the segment belongs to, and makes one if it is
// new: rules are asked once, on a flow's first segment, and once more after
// they changed about a flow that none has chosen, or whose faults a pause ended. What
// the flow did meanwhile was not seen, so it starts anew then.
func (w *worker) flow(seg packet.Segment, now time.Duration) (*entry, faults.Direction) {
	e, dir := w.find(seg, now)
	if e != nil && startsAnew(e, dir, seg) {
		e.superseded = true
		w.flows.remove(e)
		e = nil
	}
	var before *entry
	if e != nil && e.chain == nil && e.askedAt != w.changes.Load() {
		before = e
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
	}
	e = &entry{timer: faults.Never, fresh: seg.Flags().Has(packet.SYN), askedAt: w.changes.Load()}
	e.Client, e.Server = seg.SrcAddrPort(), seg.DstAddrPort()
	if dir == faults.Reply {
		e.Client, e.Server = e.Server, e.Client
	}
	e.openBefore, e.Since = !e.fresh, w.since(now)
	if e.fresh {
		e.before = now
	}
	if before != nil {
		e.openBefore = before.openBefore
	}
	w.match(e, before)
	w.addFlow(e, now)
	return e, dir
}

// startsAnew reports whether the segment is the SYN of another connection on
// the same addresses and ports, not a retransmission of the one that is known.
func startsAnew(e *entry, dir faults.Direction, seg packet.Segment) bool {
	if !seg.Flags().Has(packet.SYN) || seg.Flags().Has(packet.ACK) {
		return false
	}
	h := &e.Half[dir]
	return dir == faults.Reply || !h.SYN || h.ISN != seg.Seq()
}

// match asks the rules whether they strike the connection. before is what was
// known of it when they were asked last, or nil. A rule that chose it then strikes it
// still, wherever its target lies by now.
func (w *worker) match(e, before *entry) {
	var instances []faults.Instance
	e.adjustedAt = w.adjusted.Load()
	if before != nil {
		e.asked, e.fired = before.asked, before.fired
	}
	for _, r := range w.rules {
		o, counted := before.ordinalOf(r.index)
		if !o.chosen && (!r.match.Load().Matches(e.Client, e.Server) || !w.ownersFlow(r, e)) {
			continue
		}
		again := o.chosen
		switch {
		case again:
		case counted:
			o.chosen = r.strikes(w.seed, o.nth)
		default:
			o.rule = r.index
			o.nth, o.chosen = r.choose(w.seed, e.openBefore)
		}
		e.note(o)
		if !o.chosen {
			continue
		}
		if e.rng == nil {
			e.rule, e.nth, e.pcg = r.index, o.nth, pcg(w.seed, r.index, o.nth, 1)
			e.rng = rand.New(e.pcg)
		}
		instances = append(instances, r.settings.Load().instances...)
		e.links = append(e.links, r.faults...)
		if !again {
			e.fired = 0 // whose bits have other faults by now
			w.tell(record{kind: Chosen, client: e.Client, server: e.Server, rule: r.index, nth: o.nth, midstream: e.openBefore})
		}
	}
	if instances != nil {
		e.chain = faults.NewChain(instances)
	}
}

// ownersFlow reports whether the flow is one of the rule's owner. With a single
// rule the kernel has seen to that; with several it is asked for which of them
// it handed the packet over, once a flow.
func (w *worker) ownersFlow(r *ruleState, e *entry) bool {
	return r.match.Load().Owner.Any() || len(w.rules) == 1 || w.sets.owned(r.index, flowKey{e.Client, e.Server})
}

// pass lets go a packet of a flow that was not chosen, and the flow with it.
func (w *worker) pass(p *nfqueue.Packet, f *entry, dir faults.Direction, seg packet.Segment, now time.Duration) {
	sig := w.forget(f)
	if f.release(now) {
		sig |= ruleset.Release
	}
	f.Pass(dir, seg)
	w.answer(nfqueue.Verdict{ID: p.ID, Priority: p.Priority, Signal: uint32(sig)}, f, dir)
}

// commit carries out what the faults decided. It is the only place where a
// segment has side effects: first what was forged leaves, then the verdict.
func (w *worker) commit(p *nfqueue.Packet, f *entry, dir faults.Direction, seg packet.Segment, v faults.Verdict, now time.Duration) {
	var delay time.Duration
	if v != faults.Drop || w.out.Split() {
		delay, _ = w.delay(f, dir, now)
	}
	w.sendForged(f, dir, delay, now, nil)
	out := nfqueue.Verdict{ID: p.ID, Drop: v == faults.Drop, Priority: p.Priority, Signal: uint32(w.signals(f, now))}
	passing := seg
	if r, ok := w.out.Replaced(); ok && !out.Drop && r.Complete() { // of a head alone nothing can be made
		out.Bytes, passing = r.Bytes(), r
	}
	if (!out.Drop || w.out.Split()) && !passing.Flags().Has(packet.RST) {
		f.Pass(dir, passing)
	}
	if out.Bytes != nil && p.GSO { // the kernel would lose what is cut off a super-packet in place
		w.transmitNow(out.Bytes, p.Mark, p.Iface)
		out.Bytes, out.Drop = nil, true
	}
	if !out.Drop && w.hold(p, f, dir, &out, passing, now) {
		return
	}
	w.answer(out, f, dir)
}

// signals says what the kernel's sets must learn about the flow.
func (w *worker) signals(f *entry, now time.Duration) ruleset.Signal {
	sig := w.forget(f)
	switch {
	case w.out.Captured() && !f.captured:
		f.captured, f.released = true, false
		sig |= ruleset.Capture
	case w.out.Released() && f.release(now):
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

// forget is the signal of a flow's first SYN: whatever the sets hold for its
// addresses and ports belongs to an older connection.
func (w *worker) forget(f *entry) ruleset.Signal {
	if !f.fresh {
		return 0
	}
	f.fresh = false
	return ruleset.Forget
}

// answer gives a verdict. A drop that the sets must learn of is an accept with
// ruleset.Drop: the packet drops itself once the sets are changed.
func (w *worker) answer(v nfqueue.Verdict, f *entry, dir faults.Direction) {
	if w.segmenter.open {
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

// tell records an event for whoever listens.
func (w *worker) tell(rec record) {
	if w.report != nil {
		rec.at = time.Now()
		w.report.put(rec)
	}
}

// note counts and records what the faults did to the flow.
func (w *worker) note(f *entry, who int, dropped bool) {
	if w.tap != nil {
		w.tap.about(f, who, w.out.Notes)
	}
	if who < 0 || who >= len(f.links) {
		return
	}
	c := f.links[who]
	if dropped {
		c.dropped.Add(1)
	}
	c.forged.Add(uint64(len(w.out.Forged)))
	if len(w.out.Notes) == 0 {
		return
	}
	c.acted.Add(uint64(len(w.out.Notes)))
	if f.fired&(1<<who) == 0 {
		f.fired |= 1 << who
		c.fired.Add(1)
	}
	o, known := f.ordinalOf(c.rule)
	if !known { // it was parked, which keeps the one of its only rule
		o.nth = f.nth
	}
	for _, n := range w.out.Notes {
		w.tell(record{kind: Fired, client: f.Client, server: f.Server, rule: c.rule, nth: o.nth, fault: c, note: n})
	}
}
