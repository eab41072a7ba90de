package injector

import (
	"errors"
	"syscall"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
	"golang.org/x/sys/unix"
)

// hold keeps a packet back if a fault wants it delayed, or if an older one of
// its direction is still held: nothing overtakes. It reports whether it did.
//
// A packet of a local sender is not held in the queue: its TCP would take it
// for still being in the host, and neither retransmit it nor send on beyond
// the small-queue limit. It is copied, dropped, and sent again later. So is a
// SYN-ACK on its way in: the kernel has bound it to the socket that waits for it
// (tcp_v4_early_demux), and if that is closed meanwhile it would be dropped
// without the RST that it earns. Other segments on their way in share that fate if
// their socket closes meanwhile, and stay in the queue all the same: sent again
// they would come by loopback, and sockets bound to a device would not get them.
func (w *worker) hold(p *nfqueue.Packet, f *entry, dir faults.Direction, v *nfqueue.Verdict, seg packet.Segment, now time.Duration) bool {
	delay, held := w.delay(f, dir, now)
	if !held {
		return false
	}
	due, turn := now+delay, !w.out.Overtakes()
	if turn {
		f.due[dir] = due
		f.turns[dir]++
	}
	l := timer{at: due, inOrder: turn, kind: releasePacket, hook: p.Hook, flow: f, id: p.ID, reply: dir == faults.Reply, prio: p.Priority, mark: p.Mark, iface: p.Iface}
	again := p.Hook == unix.NF_INET_LOCAL_OUT || p.Hook == unix.NF_INET_LOCAL_IN && seg.Flags().Has(packet.SYN|packet.ACK)
	if again && seg.Complete() && !p.GSO {
		l.kind, l.pkt = sendPacket, w.copyOf(seg.Bytes())
		if p.Partial && v.Bytes == nil {
			finish(l.pkt)
		}
		v.Drop, v.Bytes = true, nil
		w.answer(*v, f, dir)
	} else if v.Bytes != nil {
		l.pkt = w.copyOf(v.Bytes)
	}
	if l.kind == releasePacket {
		l.signal = ruleset.Signal(v.Signal)
	}
	w.timers.add(l)
	return true
}

// delay returns for how long a packet of the flow is kept back, and whether it
// is at all: for no time at all if what is due before it has yet to leave.
func (w *worker) delay(f *entry, dir faults.Direction, now time.Duration) (delay time.Duration, held bool) {
	switch {
	case w.out.Overtakes():
		return w.out.Hold, w.out.Hold > 0
	case w.draining.begun && f.turns[dir] == 0:
		return 0, false
	case w.out.Hold > 0 || f.due[dir] > now || f.turns[dir] > 0:
		return max(w.out.Hold, f.due[dir]-now), true
	}
	return 0, false
}

// maxRecycled bounds the copies that are kept for the next ones: so many packets of
// a wire.
const (
	maxRecycled     = 1 << 14
	maxRecycledSize = 2048
)

// copyOf copies a packet that must wait into memory that an earlier one has left
// behind, if there is any. See spend.
func (w *worker) copyOf(pkt []byte) []byte {
	var c []byte
	if n := len(w.recycled); n > 0 && len(pkt) <= maxRecycledSize {
		c, w.recycled = w.recycled[n-1], w.recycled[:n-1]
	}
	return append(c[:0], pkt...)
}

// recycle takes back what copyOf returned.
func (w *worker) recycle(pkt []byte) {
	if pkt != nil && cap(pkt) <= maxRecycledSize && len(w.recycled) < maxRecycled {
		w.recycled = append(w.recycled, pkt)
	}
}

// finish writes the checksum that the sender's host left to its device: a copy
// of the packet takes another way.
func finish(pkt []byte) {
	if s, err := packet.Parse(pkt); err == nil {
		s.UpdateChecksums()
	}
}

// timersAtOnce is how much of what is due is done before the queue is looked at
// again: a packet that waits there is not late yet, but what delays it counts from
// when it is seen.
const timersAtOnce = nfqueue.BatchSize

// runTimers does what is due, in its order.
func (w *worker) runTimers(now time.Duration) {
	by := w.drainTime(now)
	for range timersAtOnce {
		at, ok := w.timers.next()
		if !ok || at > by {
			break
		}
		l := w.timers.take()
		switch {
		case l.kind != wakeFlow:
			w.release(&l)
		case at <= now:
			w.flushCopies()
			w.wakeFlow(l.flow, now)
		default: // it would be due after the run's end
			l.flow.timer = faults.Never
		}
	}
	w.flushCopies()
}

// schedule sees to it that the flow's next alarm is in the heap.
func (w *worker) schedule(f *entry) {
	if next := f.chain.NextWake(); next < f.timer {
		f.timer = next
		w.timers.add(timer{at: next, kind: wakeFlow, flow: f})
		w.timers.sweep(len(w.flows.flows))
	}
}

// wakeFlow runs the alarms of a flow that are due. An alarm that was put off
// meanwhile is scheduled anew.
func (w *worker) wakeFlow(f *entry, now time.Duration) {
	f.timer = faults.Never
	if f.deleted || f.chain == nil {
		return
	}
	if n := w.adjusted.Load(); f.adjustedAt != n {
		w.adjust(f, n)
	}
	for f.chain.NextWake() <= now {
		w.out.Reset()
		w.ev = faults.Event{At: now, Flow: &f.Flow, Rand: f.rng, Idle: w.sets.idle(f.links[f.chain.Due(now)].rule, flowKey{f.Client, f.Server})}
		who := f.chain.OnWake(&w.ev, &w.out)
		w.note(f, who, false)
		w.commitWake(f, now)
	}
	w.mayPark(f, now)
}

// commitWake carries out what a fault wants on its alarm. No packet is at hand
// to change the sets, so the setWriter does, and what was forged leaves after
// that: its answer must meet the changed sets.
func (w *worker) commitWake(f *entry, now time.Duration) {
	sig := w.signals(f, now) &^ ruleset.Admit
	if sig == 0 {
		w.sendForged(f, faults.Original, 0, now, nil)
		return
	}
	var pkts []timer
	w.sendForged(f, faults.Original, 0, now, &pkts)
	w.change(f, sig, func() {
		for _, l := range pkts {
			w.transmitNow(l.pkt, l.mark, l.iface)
		}
	})
}

// answerBySet gives a verdict whose signal the kernel would not understand:
// the sets are changed first, the packet waits for it.
func (w *worker) answerBySet(v nfqueue.Verdict, f *entry) {
	out := v
	out.Signal, out.Bytes = 0, append([]byte(nil), v.Bytes...)
	if v.Bytes == nil {
		out.Bytes = nil
	}
	w.change(f, ruleset.Signal(v.Signal), func() { w.queue.Verdict(out) })
}

// change has the setWriter carry out the signals in a goroutine of its own,
// and then runs done here.
func (w *worker) change(f *entry, sig ruleset.Signal, done func()) {
	key := flowKey{f.Client, f.Server}
	w.changing++
	go func() {
		for _, s := range []struct {
			sig ruleset.Signal
			op  ruleset.SetOp
			set ruleset.SetKind
		}{
			{ruleset.Forget, ruleset.Delete, ruleset.Captured}, {ruleset.Forget, ruleset.Delete, ruleset.Released}, {ruleset.Forget, ruleset.Delete, ruleset.Live},
			{ruleset.Admit, ruleset.Add, ruleset.Live}, {ruleset.Release, ruleset.Add, ruleset.Released},
			{ruleset.Capture, ruleset.Add, ruleset.Captured}, {ruleset.Capture, ruleset.Delete, ruleset.Released},
		} {
			if sig&s.sig == 0 {
				continue
			}
			err := w.sets.setFlow(s.op, s.set, key)
			switch {
			case errors.Is(err, syscall.ENFILE):
				w.totals.noRoom(s.set, 1)
			case err != nil:
				w.log.Warn("kernel set not changed", "error", err)
			}
		}
		w.post(func() {
			w.changing--
			done()
		})
	}()
}

// post has f run by the worker. Any goroutine may call it.
func (w *worker) post(f func()) {
	w.mu.Lock()
	w.inbox = append(w.inbox, f)
	w.mu.Unlock()
	w.posted.Store(true)
	w.queue.Wake()
}

// ask has f run by the worker, and waits until it has, or the worker is gone. Any other
// goroutine may call it.
func (w *worker) ask(gone <-chan struct{}, f func()) {
	done := make(chan struct{})
	w.post(func() { f(); close(done) })
	select {
	case <-done:
	case <-gone:
	}
}

func (w *worker) runPosted() {
	if !w.posted.Swap(false) {
		return
	}
	w.mu.Lock()
	fs := w.inbox
	w.inbox = nil
	w.mu.Unlock()
	for _, f := range fs {
		f()
	}
}
