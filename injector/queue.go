package injector

import (
	"time"

	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/rawsock"
)

// queue is where packets come in and verdicts go out: a netfilter queue, or a fake in
// tests. One goroutine uses it, but any may call Wake.
type queue interface {
	// Receive waits until there are packets, Wake is called, or the time is over. It
	// fills as much of pkts as it can, and returns how many there are and whether there
	// may be more. The bytes of the packets are valid until the next Receive, and may be
	// changed. A negative time means no limit.
	Receive(pkts []nfqueue.Packet, wait time.Duration) (nfqueue.Received, error)

	// Mark has a mark, which is not 0, received behind the packets that have come in
	// by the next Flush, and before all that come in later. It may get lost.
	Mark(mark uint32)

	// Limit makes room for that many packets that have not been received, from the
	// next Flush on. Further ones pass.
	Limit(packets int)

	// Verdict gives the verdict on a packet. It may be collected until Flush.
	Verdict(v nfqueue.Verdict)

	// Flush sends the verdicts that were collected.
	Flush() error

	// Wake makes a waiting Receive return.
	Wake()

	// Close closes the queue. Packets that are still in it are dropped.
	Close() error
}

// sender sends packets of our own making: raw sockets, or a fake in tests. One
// goroutine uses it.
type sender interface {
	// Send sends whole packets, in order, with as few system calls as it can. It skips
	// those that cannot be sent, returns how many these are, and sets the reason in
	// Packet.Err of each.
	Send(pkts []rawsock.Packet) (unsent int)

	Close() error
}
