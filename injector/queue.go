package injector

import "time"

// queue is the edge where packets come in and verdicts go out: a netfilter
// queue, or a fake in tests. One goroutine uses it, but for wake, which any
// may call.
type queue interface {
	// receive waits until packets are there, wake is called or the time is
	// over, fills as much of pkts as it can, and returns how many. The packets'
	// bytes are valid until the next receive. A negative time means no end.
	receive(pkts []packetIn, wait time.Duration) (int, error)

	// verdict answers a packet. It may be kept back until flush.
	verdict(v verdictOut)

	// flush sends the verdicts kept back.
	flush() error

	// wake makes a receive that waits return.
	wake()

	// close gives the queue up. Packets still in it are dropped.
	close() error
}

// packetIn is a packet in the queue.
type packetIn struct {
	id       uint32
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
	id       uint32
	drop     bool
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
