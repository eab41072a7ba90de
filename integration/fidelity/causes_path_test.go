package fidelity

import (
	"fmt"
	"strings"
	"time"

	"github.com/faultctl/faultctl/faults"
	"golang.org/x/sys/unix"
)

// pathCauses are devices on the path that forget flows or drop packets.
var pathCauses = []cause{
	{
		name: "idle-expire", fault: "idle-expire:after=1s", watch: faults.Client, device: true,
		genuine: "a stateful router (conntrack) forgets the flow after a second, and answers segments of unknown flows with a RST",
		prepare: forgets(match(unknown(), flags(rst, 0), reject())),
		before:  exchanged,
		then:    later(speaking...),
		shows:   []string{"C>S [P.] seq=5 ack=5 len=5", shapeB("S>C", 5) + " ttl=64 label=0"},
	},
	{
		name: "idle-expire, server speaks", fault: "idle-expire:after=1s", watch: faults.Server, device: true,
		genuine: "the same router; the server is the first to send",
		prepare: forgets(match(unknown(), flags(rst, 0), reject())),
		before:  exchanged,
		then:    later(writing...),
		shows:   []string{"S>C [P.] seq=5 ack=5 len=5", shapeB("C>S", 5) + " ttl=64 label=0"},
	},
	{
		name: "idle-expire, silent", fault: "idle-expire:after=1s,then=silent", watch: faults.Both, device: true,
		genuine: "a stateful router forgets the flow after a second, and drops segments of unknown flows",
		prepare: forgets(match(unknown(), drop())),
		before:  exchanged,
		then:    later(`send("hello") = 5`, "within 700ms", `recv() = EAGAIN`, "server: within 100ms", `server: recv() = EAGAIN`),
		shows:   []string{"C>S [P.] seq=5 ack=5 len=5", "C>S [P.] seq=5 ack=5 len=5 (again)"},
	},
	{
		name: "idle-expire, inside-only", fault: "idle-expire:after=1s,then=inside-only", watch: faults.Both, device: true,
		genuine: "a stateful router forgets the flow after a second; it answers segments from the client's side with a RST and drops segments from the server's side",
		prepare: forgets(match(toService(), unknown(), flags(rst, 0), reject()), match(fromService(), unknown(), flags(rst, 0), drop())),
		before:  exchanged,
		then: later(`send("hello") = 5`, "RST", `recv() = ECONNRESET`,
			`server: send("hello") = 5`, "server: within 600ms", `server: recv() = EAGAIN`),
		shows: []string{"C>S [P.] seq=5 ack=5 len=5", shapeB("S>C", 5) + " ttl=64 label=0"},
	},
	{
		name: "idle-expire, open before", fault: "idle-expire:after=1s", watch: faults.Client, device: true, late: true,
		genuine: "the same stateful router; faultctl started when the connection was already open",
		prepare: forgets(match(unknown(), flags(rst, 0), reject())),
		before:  exchanged,
		then:    later(`send("hello") = 5`, "RST", `recv() = ECONNRESET`, `send("world") = EPIPE`),
		shows:   []string{"C>S [P.] seq=5 ack=5 len=5", shapeB("S>C", 5) + " ttl=64 label=0"},
	},
	{
		name: "idle-expire, rst-both", fault: "idle-expire:after=1s,then=rst-both", watch: faults.Both, device: true, asks: true,
		genuine: "a device that keeps the last segment of each direction; when the flow has been idle for a second, it passes both to its firewall, which rejects them with a RST",
		prepare: func(p *play) { p.keep(true) },
		before:  exchanged,
		then:    later(`recv() = ECONNRESET`, `server: recv() = ECONNRESET`, `send("hello") = EPIPE`, `server: send("hello") = EPIPE`),
		shows:   []string{shapeB("S>C", 5) + " ttl=64 label=0"},
	},
	{
		name: "idle-expire, client-only", fault: "idle-expire:after=1s,then=client-only", watch: faults.Both, device: true, provokes: true,
		genuine: "the same device, which forgets the flow silently; when the server sends again, it resets the client and drops the server's segment",
		prepare: func(p *play) { p.keep(false) },
		before:  exchanged,
		then: later(`server: send("hello") = 5`, "RST", `recv() = ECONNRESET`, `recv() = EOF`,
			"server: within 600ms", `server: recv() = EAGAIN`),
		shows: []string{shapeB("S>C", 5) + " ttl=64 label=0"},
	},
	{
		name: "partition", fault: "partition:at=request", watch: faults.Both, device: true,
		genuine: "a router drops everything from the request on",
		before:  opened, act: filters(match(drop())),
		then:  []string{`send("hello") = 5`, "within 700ms", `recv() = EAGAIN`, "server: within 50ms", `server: recv() = EAGAIN`},
		shows: []string{"C>S [P.] seq=1 ack=1 len=5", "C>S [P.] seq=1 ack=1 len=5 (again)"},
	},
	{
		name: "mtu-hole", fault: "mtu-hole:above=1200", watch: faults.Both,
		genuine: "a router silently drops packets of more than 1200 bytes",
		prepare: filters(match(longerThan(1200), drop())),
		before:  exchanged,
		then:    []string{`send(1300 bytes) = 1300`, "within 700ms", `recv() = EAGAIN`},
		shows:   []string{"S>C [P.] seq=1 ack=5 len=4", "C>S [P.] seq=5 ack=5 len=1300", "C>S [P.] seq=5 ack=5 len=1300 (again)"},
	},
	{
		name: "loss", fault: "loss:chance=10%,dir=server", watch: faults.Client, late: true,
		genuine: "a router randomly drops one in ten of the server's packets (nftables, numgen random)",
		act:     filters(match(fromService(), oneInTen(), drop())),
		before:  opened,
		sums:    lossSums,
		measured: []string{
			"bytes that arrive = all, in order", "share of the server's segments that is lost = 10 % ± 2.5 %",
			"retransmitted segments = at least as many as were lost",
		},
		notOn: map[placement]string{loopback: "a packet there holds dozens of segments, so too few packets are lost for a statistic"},
	},
	{
		name: "stall", fault: "stall:at=bytes=2000", watch: faults.Client,
		genuine: "the server stops reading; its receive buffer has a fixed size",
		script: func(p *play) {
			p.must(p.ln.SetInt(unix.SOL_SOCKET, unix.SO_RCVBUF, 16384))
			exchanged(p)
			p.do()
			p.pour()
			p.client.Timeout(700 * time.Millisecond)
			p.client.Recv()
		},
		healthy: (*play).drain,
		shows:   []string{"C>S [P.] seq=5 ack=5 len=1024", "S>C [.] win=0"},
	},
	{
		name: "stall, unanswered", fault: "stall:at=request", watch: faults.Client,
		genuine: "the server has stopped reading: its kernel acknowledges a request, and no answer is sent",
		before:  opened, healthy: answersIn(0),
		then:  []string{`send("hello") = 5`, "struck", "within 700ms", `recv() = EAGAIN`},
		shows: []string{"C>S [P.] seq=1 ack=1 len=5", "S>C [.] seq=1 ack=6 len=0"},
	},
	{
		name: "stall, over", fault: "stall:at=request,for=1s", watch: faults.Client,
		genuine: "the server reads the request a second late, and then answers",
		before:  opened, act: answersIn(time.Second), healthy: answersIn(0),
		then:  []string{`send("hello") = 5`, `recv() = hello`},
		shows: []string{"C>S [P.] seq=1 ack=1 len=5", "S>C [.] seq=1 ack=6 len=0", "S>C [P.] seq=1 ack=6 len=5", "C>S [.] seq=6 ack=6 len=0"},
	},
	{
		name: "keepalive-drop", fault: "keepalive-drop", watch: faults.Both,
		genuine: "a router does not forward segments without data: the keepalive probes of a client",
		before:  probing(exchanged),
		act:     func(p *play) { p.filter(match(toService(), p.bare(), drop())) },
		then:    []string{`recv() = ETIMEDOUT`, `server: recv() = ECONNRESET`},
		shows:   []string{"C>S [.] seq=4 ack=5 len=0", "C>S [.] seq=4 ack=5 len=0 (again)", shapeA("C>S", 5, 5)},
	},
	{
		name: "keepalive-drop, answers", fault: "keepalive-drop:answers=true", watch: faults.Both,
		genuine: "a router does not forward segments without data towards the client: the answers to its keepalive probes",
		before:  probing(exchanged),
		act:     func(p *play) { p.filter(match(fromService(), p.bare(), drop())) },
		then:    []string{`recv() = ETIMEDOUT`, `server: recv() = ECONNRESET`},
		shows:   []string{"C>S [.] seq=4 ack=5 len=0", "C>S [.] seq=4 ack=5 len=0 (again)", shapeA("C>S", 5, 5)},
	},
	{
		name: "keepalive-drop, one lost", fault: "keepalive-drop:count=1", watch: faults.Both,
		genuine: "a router loses one segment without data: the first keepalive probe of a client",
		before:  probing(exchanged),
		act:     func(p *play) { p.loseOne(match(toService(), p.bare())) },
		then:    []string{"idle 2.4s", `send("hello") = 5`, `server: recv() = hello`, "quiet"},
		shows:   []string{"C>S [.] seq=4 ack=5 len=0", "C>S [.] seq=4 ack=5 len=0 (again)", "S>C [.] seq=5 ack=5 len=0", "C>S [P.] seq=5 ack=5 len=5"},
	},
}

// lossSums does a download, and returns totals of its segments.
func lossSums(p *play) []string {
	p.t.Helper()
	const bytes = 3000 * 1448
	poured := make(chan error, 1)
	go func() { poured <- p.server.Pour(bytes) }()
	drained := p.client.Drain(bytes)
	p.must(<-poured, drained)
	p.quiet()
	sent, err := p.server.Info()
	p.must(err)
	got, err := p.client.Info()
	p.must(err)
	lost := float64(sent.DataOut-got.DataIn) / float64(sent.DataOut)
	return []string{
		"bytes that arrive = all, in order",
		"share of the server's segments that is lost = " + pick(lost > 0.075 && lost < 0.125, "10 % ± 2.5 %", fmt.Sprintf("%.1f %%", 100*lost)),
		"retransmitted segments = " + pick(sent.TotalRetrans >= sent.DataOut-got.DataIn, "at least as many as were lost", fmt.Sprint(sent.TotalRetrans)),
	}
}

// pour sends one kilobyte after another, each when the previous one is
// acknowledged, until one is not.
func (p *play) pour() {
	p.t.Helper()
	for range 64 {
		p.client.Send(strings.Repeat("x", 1024))
		acked := false
		for end := time.Now().Add(300 * time.Millisecond); !acked && time.Now().Before(end); time.Sleep(time.Millisecond) {
			i, err := p.client.Info()
			acked = err == nil && i.Unacked == 0 && i.Notsent == 0
		}
		if !acked {
			return
		}
	}
	p.t.Errorf("%s lane: the window does not close", p.lane)
}

// answersIn makes the server read after that time, and send back what it reads.
func answersIn(d time.Duration) func(*play) {
	return func(p *play) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			p.idle(d)
			if got := p.server.Recv(); got == "hello" {
				p.server.Send(got)
			}
		}()
		p.cleanup(func() { p.server.Shutdown(); <-done })
	}
}

// drain makes the server read until the end of the stream.
func (p *play) drain() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if got := p.server.Recv(); got == "EOF" || strings.HasPrefix(got, "E") {
				return
			}
		}
	}()
	p.cleanup(func() { p.server.Shutdown(); <-done })
}
