package injector

import (
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/features"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
	"golang.org/x/sys/unix"
)

// What the strikes on a connection came to: whether they left this host, whether the
// TCP that they were meant for accepted them, and whether its application felt them
// (docs/VERDICTS.md). This file feeds a connection's outcome.Tracker where the worker
// carries out decisions; settle.go asks the kernel and sums up.
//
// Each chosen connection has a tracking while it is awake, some 450 bytes that are
// allocated when it is chosen. One that is parked has none: a million connections that
// wait must stay small. When such a one wakes, what its record knows of its ends is
// taken up again, and what was outstanding counts as unseen. A connection that was
// struck stays awake until its outcome is settled.
//
// In a run that a command is judged by (Config.Judge) all segments of a chosen
// connection are handed over until then, so nothing passes unseen and none is
// parked. Those of a connection that was not chosen are until its first request is
// answered, so that a request that is sent again is known.

// tracking is what is known of the strikes on one connection. It belongs to the worker.
type tracking struct {
	outcome.Tracker

	by    uint64 // bit i: fault i of the chain struck
	asked uint64 // bit i: fault i of the chain sent a probe, and did nothing else

	struckAt time.Duration // the first strike
	struck   bool
	fresh    bool // it was struck just now
	settled  bool // it is summed up
	alone    bool // the connection was found closed, or signed, before it was struck
	again    bool // the request whose answer was lost was sent again
	whole    bool // every segment was seen
	ended    bool // a RST or FIN of ours was sent
	asking   bool // a check of settle.go is due for what was sent

	meant [2]meant // the last segment that each end was to accept, by the direction in which the end sends
	local [2]bool  // the end is a socket of this host, likewise
	sock  [2]sockState

	cookie [2]uint64 // of the socket that was found
}

// meant is a segment of ours that an end is to accept.
type meant struct {
	seq, ack  packet.Seq
	rst       bool
	ends      bool // it is a RST or a FIN
	icmp      bool // it is no segment, and tells of one
	due       bool // nobody has asked the kernel yet
	notPassed bool // it was not seen behind the other rules when first asked for
}

func meantBy(seg packet.Segment) meant {
	flags := seg.Flags()
	return meant{seq: seg.Seq(), ack: seg.Ack(), rst: flags.Has(packet.RST), ends: flags.Any(packet.RST | packet.FIN)}
}

// sockState is what the kernel said of an end's socket before the strike.
type sockState uint8

const (
	sockUnasked sockState = iota
	sockFound
	sockNone // there is none by these names: it has gone, or they are translated
)

// track gives a flow its tracking, if it is to have one. It was asked about, and is new
// or has been parked.
func (w *worker) track(f *entry) {
	if f.chain == nil && (!w.judges || len(f.asked) == 0) {
		return
	}
	f.track = &tracking{whole: w.judges && !f.openBefore}
}

// restore is the tracking of a flow that was parked: what its ends have sent is known,
// not which of them sent last.
func restore(f *entry) *tracking {
	t := &tracking{}
	t.Unseen, t.Born, t.Last = true, f.Born, f.last
	for dir := range f.Half {
		h, peer := &f.Half[dir], &f.Half[1-dir]
		t.Half[dir] = features.Half{
			Bytes: h.Bytes, Next: h.Next, Acked: peer.Ack, HasAck: peer.HasAck, Passed: h.Passed, HasPass: h.HasPassed,
			Window: h.Window, Seen: h.Seen, SYN: h.SYN, FIN: h.FIN, LastData: f.last, LastACK: f.last,
		}
	}
	return t
}

// fate is what becomes of the segment by what the faults decided.
func (w *worker) fate(v faults.Verdict) features.Fate {
	_, replaced := w.out.Replaced()
	switch {
	case v == faults.Drop:
		return features.Dropped
	case replaced:
		return features.Rewritten
	case w.out.Hold > 0:
		return features.Held
	}
	return features.Passed
}

// acts reports whether the faults do anything to the connection.
func (w *worker) acts(v faults.Verdict) bool {
	_, replaced := w.out.Replaced()
	return v == faults.Drop || replaced || w.out.Hold > 0 || len(w.out.Forged) > 0 || len(w.out.Notes) > 0
}

// follow takes a segment into account, and what the faults decided about it. Who is
// the ordinal of the fault that decided, or -1. It comes before commit.
func (w *worker) follow(f *entry, dir faults.Direction, seg packet.Segment, v faults.Verdict, who int, now time.Duration) {
	t := f.track
	if t == nil || t.settled && !w.judges {
		return
	}
	fate := w.fate(v)
	t.Segment(now, dir, seg, fate)
	if fate != features.Passed || len(w.out.Notes) > 0 || len(w.out.Forged) > 0 {
		w.strike(f, who, now)
	}
	if w.judges && dir == faults.Original && t.Kind == features.Data {
		w.askedAgain(t)
	}
}

// strike takes into account what the faults did, be it to a segment or at an alarm.
func (w *worker) strike(f *entry, who int, now time.Duration) {
	t := f.track
	if t == nil || t.settled {
		return
	}
	if who >= 0 && who < len(f.links) && f.links[who].observes {
		return
	}
	for _, n := range w.out.Notes {
		t.Strike(now, n.Action, n.To)
	}
	bit := uint64(0)
	if who >= 0 && who < len(f.links) {
		bit = 1 << who
	}
	o := t.Outcome(now, faults.Both)
	switch {
	case o.Struck:
		t.by |= bit
	case o.Why == outcome.ClosedBefore || len(w.out.Notes) == 0:
		t.asked |= bit
	}
	if !o.Struck || t.struck {
		return
	}
	t.struck, t.struckAt, t.fresh = true, now, true
	w.lost.put(t)
}

// struck comes after a strike was told of: its outcome is settled at once if the
// verdict was all of it and nothing can come to it, else when more is known.
func (w *worker) struck(f *entry, now time.Duration) {
	t := f.track
	if t == nil || !t.fresh {
		return
	}
	t.fresh = false
	if o := t.result(now, w.judges); o.Known() && !o.AnswerLost && w.out.Hold == 0 {
		w.settle(f, o, now)
		return
	}
	w.checks.settle.put(f, now)
}

// closedBefore reports whether there was nothing that the faults could have struck.
func (t *tracking) closedBefore(at time.Duration) bool {
	o := t.Outcome(at, faults.Both)
	return !o.Struck && o.Why == outcome.ClosedBefore
}

// replaced takes into account that a segment goes on in place of the one at hand, and
// says which bits its verdict is to set for the rules behind all others.
func (w *worker) replaced(f *entry, dir faults.Direction, seg packet.Segment, now time.Duration) (tag uint32) {
	t := f.track
	if t == nil || t.settled || !t.struck {
		return 0
	}
	t.Replaced(now, dir, seg)
	if w.tag == 0 {
		return 0
	}
	w.awaits(f, dir, meantBy(seg), now)
	return w.tag
}

// sent takes into account that a packet was handed to the raw socket, or could not be: of
// our own making, or one of the flow's own that was held.
func (w *worker) sent(f *entry, to faults.Direction, forged bool, pkt []byte, err error) {
	t := f.track
	if t == nil || t.settled {
		return
	}
	now := w.clock()
	if !forged {
		if err != nil && refused(err) {
			t.SendFailed(now, faults.Both) // what is done to segments concerns both
		}
		return
	}
	if seg, e := packet.Parse(pkt); e == nil {
		t.Forged(now, to, seg)
		if t.struck && err == nil && seg.Flags().Any(packet.RST|packet.FIN) {
			w.awaits(f, to, meantBy(seg), now)
		}
	} else if t.struck && err == nil {
		w.awaits(f, to, meant{icmp: true}, now)
	}
	if err != nil {
		t.SendFailed(now, to.To())
	}
}

// refused reports whether an error of the raw socket says that nothing of the kind can
// leave, rather than that a queue is full.
func refused(err error) bool {
	return err != unix.ENOBUFS && err != unix.EAGAIN && err != unix.ENOMEM && err != unix.EMSGSIZE
}

// awaits has the kernel be asked a little later what became of a segment that an end
// is to accept.
func (w *worker) awaits(f *entry, to faults.Direction, m meant, now time.Duration) {
	t := f.track
	m.due = true
	t.ended = t.ended || m.ends
	t.meant[to.Flip()] = m
	if !t.asking && w.kernel != nil {
		t.asking = true
		w.checks.ask.put(f, now)
	}
}

// met takes down which ends of a flow are sockets of this host, by where a packet of it was met, and
// makes sure that they are known to the kernel by the names that the flow has:
// connections that it translates have others. That is asked only where the answer
// may be needed.
func (w *worker) met(f *entry, p *nfqueue.Packet, dir faults.Direction) {
	t := f.track
	switch p.Hook {
	case unix.NF_INET_LOCAL_OUT:
		t.local[dir] = true
	case unix.NF_INET_LOCAL_IN:
		t.local[dir.Flip()] = true
		if p.Iface == loopback {
			t.local[dir] = true
		}
	}
	if t.local[dir] && t.sock[dir] == sockUnasked && w.kernel != nil && f.chain != nil &&
		(w.judges || f.chain.NextWake() != faults.Never || w.rules[f.rule].settings.Load().diverts.Idle != 0) {
		w.confirm(f, dir)
	}
}

// loopback is the index of lo, in each namespace (net/core/dev.c, LOOPBACK_IFINDEX).
const loopback = 1

// confirm asks for an end's socket, which has just sent a segment.
func (w *worker) confirm(f *entry, dir faults.Direction) {
	local, remote := f.socketEnds(dir)
	f.track.sock[dir] = sockNone
	if s, cookie, there, err := w.kernel.socket(local, remote); err == nil && there && s != sockGone {
		f.track.sock[dir], f.track.cookie[dir] = sockFound, cookie
	}
}

// mayStrike reports whether the faults may do to the connection what they want to do for
// the first time, to a segment or awakened by an alarm. They may not if it is closed, by the
// word of the kernel, or if its segments are signed (TCP-MD5, TCP-AO) and theirs would
// not be.
func (w *worker) mayStrike(f *entry, who int, awake bool, now time.Duration) bool {
	t := f.track
	if t == nil || t.struck || t.settled || t.alone {
		return true
	}
	if f.signed && w.forges() {
		t.alone = true
		w.totals.signed.Add(1)
		return false
	}
	if w.kernel == nil || f.Segments <= 1 && !awake {
		return true // it has just begun
	}
	for _, dir := range [...]faults.Direction{faults.Original, faults.Reply} {
		if t.sock[dir] != sockFound {
			continue
		}
		local, remote := f.socketEnds(dir)
		s, _, there, err := w.kernel.socket(local, remote)
		switch {
		case err != nil:
		case !there || s == sockGone:
			t.Kernel(now, faults.Both, outcome.NoSocket)
			t.alone = true
			if who >= 0 && who < len(f.links) {
				t.asked |= 1 << who
			}
			return false
		case s == sockOrphan:
			t.Kernel(now, dir.From(), outcome.Orphaned)
		}
	}
	return true
}

// forges reports whether the faults want to send something that the connection's own
// ends did not make.
func (w *worker) forges() bool {
	if _, replaced := w.out.Replaced(); replaced {
		return true
	}
	for i := range w.out.Forged {
		if !w.out.Forged[i].Raw {
			return true
		}
	}
	return false
}

// leave is the end of faults on a connection that must not be struck. It returns what
// the kernel's sets must learn: to let it pass.
func (w *worker) leave(f *entry, now time.Duration) (sig ruleset.Signal) {
	f.chain = nil
	w.finish(f, now)
	if f.captured {
		sig |= ruleset.Forget
	}
	f.captured, f.released, f.toldAt = false, true, now
	return sig | ruleset.Release
}

// keeps reports whether the kernel must go on to hand over a flow that no fault wants
// any more: until the outcome of the strikes on it is known, or for a while.
func (w *worker) keeps(f *entry, now time.Duration) bool {
	t := f.track
	switch {
	case t == nil || t.settled:
		return false
	case t.struck:
		return now-t.struckAt < settleAfter && !t.Outcome(now, faults.Both).Known()
	}
	return w.judges && (t.Turns < 2 && !t.Closed() || f.chain != nil && f.chain.NextWake() != faults.Never)
}

// lostRequests are the connections that were struck lately.
type lostRequests struct {
	of   [64]*tracking
	next int
	any  bool
}

func (l *lostRequests) put(t *tracking) {
	l.of[l.next%len(l.of)] = t
	l.next++
	l.any = true
}

// askedAgain takes into account that a client has sent something: it may be a request
// whose answer was lost on another connection.
func (w *worker) askedAgain(t *tracking) {
	request := t.Request()
	if !w.lost.any || request == 0 {
		return
	}
	for _, l := range w.lost.of {
		if l != nil && l != t && !l.again && l.Request() == request && l.AnswerLost() {
			l.again = true
			return
		}
	}
}
