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

// outbox is what leaves a worker: verdicts on packets, at once or when a packet was held
// for its time, and packets of our own making. Packets are never reordered within a
// direction of a flow unless a fault asks for it: what is held has its turn, and what
// follows waits for it. Verdicts and copies are gathered, for a system call for many of
// them costs a fraction of one for each; flush and flushCopies send what was gathered.
//
// It belongs to one worker. Nothing here allocates once there is room.
type outbox struct {
	run    *shared
	queue  queue
	sender sender

	// sent is told of each packet of a watched flow that was handed to the raw socket:
	// whether it is of our own making, and why it could not be sent.
	sent func(of *outcomes.Conn, to faults.Direction, forged bool, pkt []byte, err error)

	// answer gives the verdict on a packet that was held, see worker.answer.
	answer func(v nfqueue.Verdict, f *entry, dir faults.Direction)

	// renamed gives a packet of a flow that is sent the ends with which it arrives, see
	// worker.rename.
	renamed func(f *entry, pkt []byte)

	arrived time.Duration // when the packets at hand came in, see backlog
	heldNow int           // how many of them are held
	late    lateness      // of what is released

	timers   timers // what is held, and alarms of flows
	draining draining
	recycled [][]byte // memory of packets that have left: see copyOf

	single       [1]rawsock.Packet
	copies       []rawsock.Packet // sent with the next system call: see release
	copiesOf     []copied         // of each, if its flow wants to know
	warned       map[string]bool  // why packets were not sent, as logged
	verdictsKept bool             // verdicts on what was held go with the next one
	outputKept   bool             // and one of them on a local sender's packet
}

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

// delay returns for how long a packet of the flow is kept back, and whether it
// is at all: for no time at all if what is due before it has yet to leave.
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

// maxRecycled bounds the copies that are kept for the next ones: so many packets of
// a wire.
const (
	maxRecycled     = 1 << 14
	maxRecycledSize = 2048
)

// copyOf copies a packet that must wait into memory that an earlier one has left
// behind, if there is any. See recycle.
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

// finish writes the checksum that the sender's host left to its device: a copy
// of the packet takes another way.
func finish(pkt []byte) {
	if s, err := packet.Parse(pkt); err == nil {
		s.UpdateChecksums()
	}
}

// release lets what was held go on, or sends what was copied or forged. Verdicts are
// kept back until flush, copies of what local senders sent until flushCopies: a system
// call for many costs a fraction of one for each. None of them is reordered with
// another of its direction, and forged segments with none at all. A copy may leave
// before the verdict on a packet that was met on its way in or through: that
// travels the other way.
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

// copied is whose a packet is that leaves by the raw socket.
type copied struct {
	of     *entry
	to     faults.Direction
	forged bool // it is of our own making
}

// copy has a packet leave with the next flushCopies.
func (o *outbox) copy(p rawsock.Packet, of copied) {
	o.copies, o.copiesOf = append(o.copies, p), append(o.copiesOf, of)
}

// transmit hands packets to the sender. What it cannot send is counted, and the first time
// for each reason logged: a route that is gone for a while would fill the log.
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
			o.run.log.Warn("packet not sent; more of them are only counted", "error", err, "reason", refusal(err))
		}
	}
}

// refusal is what an error of the raw socket means.
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

// transmitNow sends one packet of our own making, of that flow and to that end, and
// of which the flow is told.
func (o *outbox) transmitNow(f *entry, to faults.Direction, pkt []byte, mark, iface uint32) {
	o.single[0] = rawsock.Packet{Bytes: pkt, Mark: mark, Iface: iface}
	o.transmit(o.single[:])
	if f.outcome != nil {
		o.sent(f.outcome, to, true, pkt, o.single[0].Err)
	}
}

// flush sends the verdicts that the queue has kept back.
func (o *outbox) flush() {
	o.verdictsKept, o.outputKept = false, false
	if err := o.queue.Flush(); err != nil {
		o.run.log.Warn("verdict lost", "error", err)
	}
}

// flushCopies sends the copies that release has kept back.
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

// releaseAll has all that is held leave, and forgets alarms. The rules that queue are
// gone by now, and what verdicts have to say with them.
func (o *outbox) releaseAll() {
	for o.timers.heap.Len() > 0 {
		if l := o.timers.take(); l.kind != wakeFlow {
			l.signal = 0 // nobody listens any more
			o.release(&l, 0)
		}
	}
	o.flushCopies()
}
