package fidelity

import (
	"context"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/florianl/go-nfqueue/v2"
)

// pathDelay is the delay of a packet in one direction if a cause is far.
const pathDelay = 50 * time.Millisecond

// delayPath makes the device forward every packet of the service after pathDelay,
// in order. In both directions that is before faultctl.
//
// It turns tcp_autocorking off on the client, which would merge writes while a
// packet waits in the host, for a network card or for a verdict.
func (p *play) delayPath() {
	p.t.Helper()
	p.must(p.from.Sysctl("net/ipv4/tcp_autocorking", "0"))
	type passing struct {
		id  uint32
		due time.Time
	}
	way := make(chan passing, 1024)
	ctx, cancel := context.WithCancel(context.Background())
	q := p.divert(ctx, farQueue, -300, match(), func(a nfqueue.Attribute) {
		way <- passing{*a.PacketID, time.Now().Add(pathDelay)}
	})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-ctx.Done():
				return
			case w := <-way:
				time.Sleep(time.Until(w.due))
				q.SetVerdict(w.id, nfqueue.NfAccept)
			}
		}
	}()
	p.cleanup(func() { cancel(); <-ended; q.Close() })
}

// farCauses are causes over a long path: segments that are in flight when the
// connection dies cross the RST.
var farCauses = []cause{
	{
		name: "half-open, writes under way", fault: "half-open:peer=rebooted", watch: faults.Client, far: true,
		genuine: "the server's host, a round trip of 100 ms away, no longer knows the connection (TCP_REPAIR); the client sends three times before the first answer arrives",
		before:  opened, act: forgotten,
		then: []string{`send("hello") = 5`, `send("hello") = 5`, `send("hello") = 5`, `recv() = ECONNRESET`, `send("world") = EPIPE`},
		shows: []string{
			"C>S [P.] seq=1 len=5", "C>S [P.] seq=6 len=5", "C>S [P.] seq=11 len=5",
			shapeB("S>C", 1), shapeB("S>C", 1), shapeB("S>C", 1),
		},
	},
	{
		name: "unread-close, far", fault: "unread-close", watch: faults.Client, far: true,
		genuine: "of two requests the server reads one, answers it and calls close; the client's acknowledgment of the answer crosses the RST",
		before:  func(p *play) { unread(p); p.server.Send("pong") },
		act:     closes, healthy: readsCloses,
		then: []string{`recv() = pong`, `recv() = ECONNRESET`},
		shows: []string{
			"S>C [P.] seq=1 ack=9 len=4", "C>S [.] seq=9 ack=5", shapeA("S>C", 5, 9), shapeB("S>C", 5),
		},
	},
	{
		name: "closed-socket, far", fault: "closed-socket:pass-response=true", watch: faults.Client, far: true,
		genuine: "the server answers and calls close; the client sends twice before the first answer arrives",
		before:  answered, act: closes, healthy: closes,
		then: []string{`recv() = pong`, `recv() = EOF`, `send("hello") = 5`, `send("world") = 5`, "RST", `send("again") = EPIPE`},
		shows: []string{
			"S>C [P.] seq=1 ack=5 len=4", "S>C [F.] seq=5 ack=5 len=0 TS id=+1", "C>S [P.] seq=5 ack=6 len=5", "C>S [P.] seq=10 ack=6 len=5",
			shapeB("S>C", 6) + " label=own", shapeB("S>C", 6) + " label=other",
		},
	},
}
