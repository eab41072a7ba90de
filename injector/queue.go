package injector

import (
	"time"

	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/rawsock"
)

// queue is the edge where packets come in and verdicts go out: a netfilter
// queue, or a fake in tests. One goroutine uses it, but for Wake, which any
// may call.
type queue interface {
	// Receive waits until packets are there, Wake is called or the time is
	// over, and fills as much of pkts as it can. The packets' bytes are valid until
	// the next Receive, and may be written to. A negative time means no end.
	Receive(pkts []nfqueue.Packet, wait time.Duration) (nfqueue.Received, error)

	// Mark has a mark, which is not 0, received behind the packets that have come in
	// by the next Flush, and before all that come in later. It may get lost.
	Mark(mark uint32)

	// Limit makes room for that many packets that have not been received, from the
	// next Flush on. Further ones pass.
	Limit(packets int)

	// Verdict answers a packet. It may be kept back until Flush.
	Verdict(v nfqueue.Verdict)

	// Flush sends the verdicts kept back.
	Flush() error

	// Wake makes a Receive that waits return.
	Wake()

	// Close gives the queue up. Packets still in it are dropped.
	Close() error
}

// sender sends packets of our own making: raw sockets, or a fake in tests. One
// goroutine uses it.
type sender interface {
	// Send puts whole packets on their way, in their order, by as few system
	// calls as it can. What cannot be sent is left out: it returns how many, and says
	// in Packet.Err of each why.
	Send(pkts []rawsock.Packet) (unsent int)

	Close() error
}
