package fidelity

import (
	"strings"
	"time"

	"github.com/faultctl/faultctl/faults"
	"golang.org/x/sys/unix"
)

// pathCauses are devices on the path that forget, or do not carry everything.
var pathCauses = []cause{
	{
		name: "idle-expire", fault: "idle-expire:after=1s", watch: faults.Client,
		genuine: "a stateful router (conntrack) forgets the flow after a second, and rejects with a RST what it does not know",
		needs:   canTrack, device: true,
		prepare: func(p *play) { p.track(1); p.filter(match(unknown(), flags(rst, 0), reject())) },
		script: func(p *play) {
			p.open()
			p.exchange()
			p.idle(forgotten)
			p.do()
			p.client.Send("hello")
			p.await(isRST)
			p.client.Recv()
			p.client.Send("world")
			p.client.Recv()
		},
		shows: []string{"C>S [P.] seq=5 ack=5 len=5", "S>C [R] seq=5 len=0 win=0 !TS ttl=64 id=0 DF label=0"},
		says:  []string{`send("hello") = 5`, `recv() = ECONNRESET`, `send("world") = EPIPE`, `recv() = EOF`},
	},
	{
		name: "idle-expire, server speaks", fault: "idle-expire:after=1s", watch: faults.Server,
		genuine: "the same router; the server is the first to speak",
		needs:   canTrack, device: true,
		prepare: func(p *play) { p.track(1); p.filter(match(unknown(), flags(rst, 0), reject())) },
		script: func(p *play) {
			p.open()
			p.exchange()
			p.idle(forgotten)
			p.do()
			p.server.Send("hello")
			p.await(isRST)
			p.server.Send("world")
			p.server.Send("again")
		},
		shows: []string{"S>C [P.] seq=5 ack=5 len=5", "C>S [R] seq=5 len=0 win=0 !TS ttl=64 id=0 DF label=0"},
		says:  []string{`send("hello") = 5`, `send("world") = ECONNRESET`, `send("again") = EPIPE`},
	},
	{
		name: "idle-expire, silent", fault: "idle-expire:after=1s,then=silent", watch: faults.Both,
		genuine: "a stateful router forgets the flow after a second, and drops what it does not know",
		needs:   canTrack, device: true,
		prepare: func(p *play) { p.track(1); p.filter(match(unknown(), drop())) },
		script: func(p *play) {
			p.open()
			p.exchange()
			p.idle(forgotten)
			p.do()
			p.client.Send("hello")
			p.client.Timeout(700 * time.Millisecond)
			p.client.Recv()
			p.server.Timeout(100 * time.Millisecond)
			p.server.Recv()
		},
		shows: []string{"C>S [P.] seq=5 ack=5 len=5", "C>S [P.] seq=5 ack=5 len=5 (again)"},
		says:  []string{`send("hello") = 5`, `recv() = EAGAIN`},
	},
	{
		name: "idle-expire, inside-only", fault: "idle-expire:after=1s,then=inside-only", watch: faults.Both,
		genuine: "a stateful router forgets the flow after a second; it rejects what comes from the client's side and drops what comes from the other",
		needs:   canTrack, device: true,
		prepare: func(p *play) {
			p.track(1)
			p.filter(match(toService(), unknown(), flags(rst, 0), reject()), match(fromService(), unknown(), flags(rst, 0), drop()))
		},
		script: func(p *play) {
			p.open()
			p.exchange()
			p.idle(forgotten)
			p.do()
			p.client.Send("hello")
			p.await(isRST)
			p.client.Recv()
			p.server.Send("hello")
			p.server.Timeout(600 * time.Millisecond)
			p.server.Recv()
		},
		shows: []string{"C>S [P.] seq=5 ack=5 len=5", "S>C [R] seq=5 len=0 win=0 !TS ttl=64 id=0 DF label=0"},
		says:  []string{`send("hello") = 5`, `recv() = ECONNRESET`},
	},
	{
		name: "idle-expire, open before", fault: "idle-expire:after=1s", watch: faults.Client, device: true, late: true,
		genuine: "the same stateful router; faultctl came when the connection was open",
		needs:   canTrack,
		prepare: func(p *play) { p.track(1); p.filter(match(unknown(), flags(rst, 0), reject())) },
		script: func(p *play) {
			p.open()
			p.exchange()
			p.start()
			p.idle(forgotten)
			p.do()
			p.client.Send("hello")
			p.await(isRST)
			p.client.Recv()
			p.client.Send("world")
		},
		shows: []string{"C>S [P.] seq=5 ack=5 len=5", "S>C [R] seq=5 len=0 win=0 !TS ttl=64 id=0 DF label=0"},
		says:  []string{`send("hello") = 5`, `recv() = ECONNRESET`, `send("world") = EPIPE`},
	},
	{
		name: "partition", fault: "partition:at=request", watch: faults.Both, device: true,
		genuine: "a router drops everything from the request on",
		script: func(p *play) {
			p.open()
			p.do()
			p.client.Send("hello")
			p.client.Timeout(700 * time.Millisecond)
			p.client.Recv()
			p.server.Timeout(50 * time.Millisecond)
			p.server.Recv()
		},
		act:   func(p *play) { p.filter(match(drop())) },
		shows: []string{"C>S [P.] seq=1 ack=1 len=5", "C>S [P.] seq=1 ack=1 len=5 (again)"},
		says:  []string{`send("hello") = 5`, `recv() = EAGAIN`},
	},
	{
		name: "mtu-hole", fault: "mtu-hole:above=1200", watch: faults.Both,
		genuine: "a router loses packets of more than 1200 bytes and says nothing",
		prepare: func(p *play) { p.filter(match(longerThan(1200), drop())) },
		script: func(p *play) {
			p.open()
			p.exchange()
			p.do()
			p.client.Send(strings.Repeat("x", 1300))
			p.client.Timeout(700 * time.Millisecond)
			p.client.Recv()
		},
		shows: []string{"S>C [P.] seq=1 ack=5 len=4", "C>S [P.] seq=5 ack=5 len=1300", "C>S [P.] seq=5 ack=5 len=1300 (again)"},
		says:  []string{`send(1300 bytes) = 1300`, `recv() = EAGAIN`},
	},
	{
		name: "stall", fault: "stall:at=bytes=2000", watch: faults.Client,
		genuine: "the server stops reading; its receive buffer has a fixed size",
		script: func(p *play) {
			p.must(p.ln.SetInt(unix.SOL_SOCKET, unix.SO_RCVBUF, 16384))
			p.open()
			p.exchange()
			p.do()
			p.pour()
			p.client.Timeout(700 * time.Millisecond)
			p.client.Recv()
		},
		healthy: func(p *play) { p.drain() },
		shows:   []string{"C>S [P.] seq=5 ack=5 len=1024", "S>C [.] win=0"},
	},
	{
		name: "keepalive-drop", fault: "keepalive-drop", watch: faults.Both,
		genuine: "a router that does not carry segments without data: the probes of a client with keepalive",
		script:  probes,
		act:     func(p *play) { p.filter(match(toService(), p.bare(), drop())) },
		shows: []string{
			"C>S [.] seq=4 ack=5 len=0", "C>S [.] seq=4 ack=5 len=0 (again)", "C>S [R.] seq=5 ack=5 len=0 TS id=+1 DF label=own",
		},
		says: []string{`recv() = ETIMEDOUT`},
	},
	{
		name: "keepalive-drop, answers", fault: "keepalive-drop:answers=true", watch: faults.Both,
		genuine: "a router that does not carry segments without data, towards the client: the answers to its probes",
		script:  probes,
		act:     func(p *play) { p.filter(match(fromService(), p.bare(), drop())) },
		shows: []string{
			"C>S [.] seq=4 ack=5 len=0", "C>S [.] seq=4 ack=5 len=0 (again)", "C>S [R.] seq=5 ack=5 len=0 TS id=+1 DF label=own",
		},
		says: []string{`recv() = ETIMEDOUT`},
	},
}

// forgotten is longer than the idle time of the devices here.
const forgotten = 1400 * time.Millisecond

// probes is a client that waits, with keepalive, and a server that does too.
func probes(p *play) {
	p.open()
	p.exchange()
	p.keepalive(p.client)
	p.do()
	p.client.Recv()
	p.server.Recv()
}

// pour sends kilobytes, each when the one before is acknowledged, until one is
// not.
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

// drain makes the server read whatever comes, to the end.
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
	p.t.Cleanup(func() { p.client.Close(); <-done })
}
