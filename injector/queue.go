package injector

import "time"

// queue is the edge where packets come in and verdicts go out: a netfilter
// queue, or a fake in tests. One goroutine uses it, but for wake, which any
// may call.
type queue interface {
	// receive waits until packets are there, wake is called or the time is
	// over, fills as much of pkts as it can, and returns how many, and whether more
	// may be there. The packets' bytes are valid until the next receive, and may be
	// written to. A negative time means no end.
	receive(pkts []packetIn, wait time.Duration) (n int, more bool, err error)

	// verdict answers a packet. It may be kept back until flush.
	verdict(v verdictOut)

	// flush sends the verdicts kept back.
	flush() error

	// wake makes a receive that waits return.
	wake()

	// close gives the queue up. Packets still in it are dropped.
	close() error
}

// packetID names a packet in the queue: the kernel's number for it and, in the
// upper half, in which of the worker's two netfilter queues it waits.
type packetID uint64

// inUncut is set for packets of local senders that come as they were made: see
// worker.handleUncut. They have a queue of their own, with numbers of its own.
const inUncut packetID = 1 << 32

func (id packetID) uncut() bool    { return id&inUncut != 0 }
func (id packetID) queue() int     { return int(id >> 32) }
func (id packetID) number() uint32 { return uint32(id) }

// packetIn is a packet in the queue.
type packetIn struct {
	id       packetID
	hook     uint8  // NF_INET_LOCAL_IN, NF_INET_FORWARD or NF_INET_LOCAL_OUT
	bytes    []byte // cut off behind the headers if no fault needs more
	mark     uint32
	priority uint32
	iface    uint32 // the interface it came in by, or goes out by
	partial  bool   // its TCP checksum is not finished (NFQA_SKB_CSUMNOTREADY)
	gso      bool   // it stands for several segments (NFQA_SKB_GSO)
}

// verdictOut is the answer to one packet.
type verdictOut struct {
	id       packetID
	drop     bool
	again    bool // an uncut packet is to come again, cut up by the kernel
	signal   signal
	priority uint32 // of the packet, as delivered
	bytes    []byte // nil: as it was
}

// sender sends packets of our own making: raw sockets, or a fake in tests. One
// goroutine uses it.
type sender interface {
	// send puts whole packets on their way, in their order, by as few system
	// calls as it can. What cannot be sent is left out: it returns how many, and
	// why the first of them could not.
	send(pkts []packetOut) (unsent int, err error)

	close() error
}

// packetOut is a packet for a sender.
type packetOut struct {
	bytes []byte
	mark  uint32 // the routing mark of its flow
	iface uint32 // the scope of a link-local destination
}
