package injector

import (
	"errors"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/outcomes"
	"github.com/faultctl/faultctl/injector/internal/rawsock"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
	"golang.org/x/sys/unix"
)

// outbox sends what leaves a worker: verdicts, at once or after a packet was held, and
// packets of our own making. Packets are never reordered within a direction of a flow
// unless a fault asks for it: later packets wait for those that are held. Verdicts and
// copies are collected, because one system call for many of them costs a fraction of
// one call for each; flush and flushCopies send what was collected.
//
// It belongs to one worker. Nothing here allocates once there is enough memory from
// earlier packets.
type outbox struct {
	run    *shared
	queue  queue
	sender sender

	// sent is called for each packet of a watched flow that was handed to the raw
	// socket, with the error that this gave: forged says that it is of our own making.
	sent func(of *outcomes.Conn, to faults.Direction, forged bool, pkt []byte, err error)

	// answer gives the verdict on a packet that was held, see worker.answer.
	answer func(v nfqueue.Verdict, f *entry, dir faults.Direction)

	// renamed puts the addresses into a packet with which it arrives, see worker.rename.
	renamed func(f *entry, pkt []byte)

	arrived time.Duration // when the packets at hand came in, see backlog
	heldNow int           // how many of them are held
	late    lateness      // of what is released

	timers   timers // held packets, and alarms of flows
	draining draining
	recycled [][]byte // memory of packets that have left, see copyOf

	single       [1]rawsock.Packet
	copies       []rawsock.Packet // sent with the next system call, see release
	copiesOf     []copied         // what each of them belongs to
	warned       map[string]bool  // errors of the raw socket that have been logged
	verdictsKept bool             // verdicts on held packets wait for the next flush
	outputKept   bool             // and one of them is on a packet of a local sender
}

// hold holds a packet if a fault delays it, or if an older one of its direction is
// still held, so that it does not overtake. It reports whether it did.
//
// A packet of a local sender is not held in the queue, because its TCP would believe
// that it is still in the host, and would neither retransmit it nor send beyond the
// small-queue limit. It is copied, dropped, and sent again later. The same is done to
// an incoming SYN-ACK: the kernel has bound it to the waiting socket
// (tcp_v4_early_demux), and if that socket is closed in the meantime, it would be
// dropped without the RST that it should cause. This can happen to other incoming
// segments as well, but they stay in the queue: if they were sent again they would come
// by loopback, and sockets bound to a device would not get them.
func (o *outbox) hold(p *nfqueue.Packet, f *entry, dir faults.Direction, v *nfqueue.Verdict, out *faults.Effects, seg packet.Segment, now time.Duration) bool {
	delay, held := o.delay(f, dir, out, now)
	if !held {
		return false
	}
	due, turn := now+delay, !out.Overtakes()
	if turn {
		f.due[dir] = due
		f.turns[dir]++
	}
	o.heldNow++
	l := timer{at: due, ideal: o.arrived + delay, inOrder: turn, kind: releasePacket, hook: p.Hook, flow: f, id: p.ID, reply: dir == faults.Reply, prio: p.Priority, tag: v.Tag, mark: p.Mark, iface: p.Iface}
	again := p.Hook == unix.NF_INET_LOCAL_OUT || p.Hook == unix.NF_INET_LOCAL_IN && seg.Flags().Has(packet.SYN|packet.ACK)
	if again && seg.Complete() && !p.GSO {
		l.kind, l.pkt = sendPacket, o.copyOf(seg.Bytes())
		if p.Partial && v.Bytes == nil {
			finish(l.pkt)
		}
		o.renamed(f, l.pkt)
		v.Drop, v.Bytes, v.Tag = true, nil, 0
		o.answer(*v, f, dir)
	} else if v.Bytes != nil {
		l.pkt = o.copyOf(v.Bytes)
	}
	if l.kind == releasePacket {
		l.signal = ruleset.Signal(v.Signal)
	}
	o.timers.add(l)
	return true
}

// delay returns for how long a packet of the flow is held, and whether it is held at
// all. It may be held for no time: if an earlier one is due but has not left yet.
func (o *outbox) delay(f *entry, dir faults.Direction, out *faults.Effects, now time.Duration) (delay time.Duration, held bool) {
	switch {
	case out.Overtakes():
		return out.Hold, out.Hold > 0
	case o.draining.begun && f.turns[dir] == 0:
		return 0, false
	case out.Hold > 0 || f.due[dir] > now || f.turns[dir] > 0:
		return max(out.Hold, f.due[dir]-now), true
	}
	return 0, false
}

// maxRecycled and maxRecycledSize bound the memory that is kept for later copies: that
// many packets of the size of an Ethernet frame.
const (
	maxRecycled     = 1 << 14
	maxRecycledSize = 2048
)

// copyOf copies a packet that must wait, into memory of an earlier one if there is any.
// See recycle.
func (o *outbox) copyOf(pkt []byte) []byte {
	var c []byte
	if n := len(o.recycled); n > 0 && len(pkt) <= maxRecycledSize {
		c, o.recycled = o.recycled[n-1], o.recycled[:n-1]
	}
	return append(c[:0], pkt...)
}

// recycle takes back what copyOf returned.
func (o *outbox) recycle(pkt []byte) {
	if pkt != nil && cap(pkt) <= maxRecycledSize && len(o.recycled) < maxRecycled {
		o.recycled = append(o.recycled, pkt)
	}
}

// finish computes the checksum that the host has left to its network device, because a
// copy of the packet takes another way.
func finish(pkt []byte) {
	if s, err := packet.Parse(pkt); err == nil {
		s.UpdateChecksums()
	}
}

// release gives a held packet its verdict, or sends what was copied or forged. Verdicts
// are collected until flush, and copies of packets of local senders until flushCopies.
// Neither is reordered within its direction, and forged segments are not reordered at
// all. A copy may leave before the verdict on a forwarded or incoming packet, which
// travels in the other direction.
func (o *outbox) release(l *timer, now time.Duration) {
	output := l.hook == unix.NF_INET_LOCAL_OUT
	dir := l.dir()
	if l.inOrder {
		l.flow.turns[dir]--
	}
	if l.ideal != 0 && !o.draining.begun {
		o.late.observe(&o.run.totals.latency, now-l.ideal)
	}
	if l.kind == releasePacket {
		if output {
			o.flushCopies()
			o.outputKept = true
		}
		o.verdictsKept = true
		o.answer(nfqueue.Verdict{ID: l.id, Priority: l.prio, Signal: uint32(l.signal), Tag: l.tag, Bytes: l.pkt}, l.flow, dir)
		o.recycle(l.pkt)
		return
	}
	if o.outputKept || o.verdictsKept && !output {
		o.flush()
	}
	if !output || len(o.copies) == rawsock.BatchSize {
		o.flushCopies()
	}
	o.copy(rawsock.Packet{Bytes: l.pkt, Mark: l.mark, Iface: l.iface}, copied{l.flow, dir, l.forged})
	if !output {
		o.flushCopies()
	}
}

// copied says what a packet belongs to that leaves by the raw socket.
type copied struct {
	of     *entry
	to     faults.Direction
	forged bool // it is of our own making
}

// copy makes a packet leave with the next flushCopies.
func (o *outbox) copy(p rawsock.Packet, of copied) {
	o.copies, o.copiesOf = append(o.copies, p), append(o.copiesOf, of)
}

// transmit hands packets to the sender. Those that it cannot send are counted. The
// first one for each reason is logged; a route that is gone for a while would fill the
// log otherwise.
func (o *outbox) transmit(pkts []rawsock.Packet) {
	n := o.sender.Send(pkts)
	if n == 0 {
		return
	}
	o.run.totals.unsent.Add(uint64(n))
	for i := range pkts {
		if err := pkts[i].Err; err != nil && !o.warned[err.Error()] {
			if o.warned == nil {
				o.warned = map[string]bool{}
			}
			o.warned[err.Error()] = true
			o.run.log.Warn("packet not sent; further ones are only counted", "error", err, "reason", refusal(err))
		}
	}
}

// refusal explains an error of the raw socket.
func refusal(err error) string {
	var errno unix.Errno
	errors.As(err, &errno)
	switch errno {
	case unix.EPERM:
		return "a firewall of this host drops it on its way out"
	case unix.EACCES:
		return "a route of this host prohibits it"
	case unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENETDOWN, unix.ENONET:
		return "there is no route"
	case unix.EADDRNOTAVAIL, unix.EINVAL:
		return "this host has no address, or no route, to send it with"
	case unix.EMSGSIZE:
		return "it is longer than the MTU"
	case unix.ENOBUFS, unix.EAGAIN, unix.ENOMEM:
		return "a queue of this host is full"
	}
	return "the kernel does not say"
}

// transmitNow sends one packet of our own making in that direction of the flow.
func (o *outbox) transmitNow(f *entry, to faults.Direction, pkt []byte, mark, iface uint32) {
	o.single[0] = rawsock.Packet{Bytes: pkt, Mark: mark, Iface: iface}
	o.transmit(o.single[:])
	if f.outcome != nil {
		o.sent(f.outcome, to, true, pkt, o.single[0].Err)
	}
}

// flush sends the verdicts that were collected.
func (o *outbox) flush() {
	o.verdictsKept, o.outputKept = false, false
	if err := o.queue.Flush(); err != nil {
		o.run.log.Warn("verdict lost", "error", err)
	}
}

// flushCopies sends the copies that were collected.
func (o *outbox) flushCopies() {
	if len(o.copies) == 0 {
		return
	}
	o.transmit(o.copies)
	for i := range o.copies {
		if of := &o.copiesOf[i]; of.of != nil && of.of.outcome != nil {
			o.sent(of.of.outcome, of.to, of.forged, o.copies[i].Bytes, o.copies[i].Err)
		}
		o.recycle(o.copies[i].Bytes)
	}
	clear(o.copiesOf)
	o.copies, o.copiesOf = o.copies[:0], o.copiesOf[:0]
}

// releaseAll makes everything leave that is held, and cancels alarms. The rules that
// queue packets are gone by now, and with them the sets that verdicts change.
func (o *outbox) releaseAll() {
	for o.timers.heap.Len() > 0 {
		if l := o.timers.take(); l.kind != wakeFlow {
			l.signal = 0 // there are no sets any more
			o.release(&l, 0)
		}
	}
	o.flushCopies()
}
