package fidelity

import (
	"github.com/faultctl/faultctl/faults"
	"golang.org/x/sys/unix"
)

// peerCauses are peers that are gone and do not say so.
var peerCauses = []cause{
	{
		name: "half-open, state lost", fault: "half-open:peer=rebooted", watch: faults.Client,
		genuine: "the server's host knows nothing of the connection any more (TCP_REPAIR); the service is back",
		script:  speaksFirst,
		act:     func(p *play) { p.forget(p.server) },
		shows:   []string{"C>S [P.] seq=1 ack=1 len=5", "S>C [R] seq=1 len=0 win=0 !TS id=0 DF label=other"},
		says:    []string{`send("hello") = 5`, `recv() = ECONNRESET`, `send("world") = EPIPE`, `recv() = EOF`},
	},
	{
		name: "half-open, client gone", fault: "half-open:peer=rebooted,side=client,at=response", watch: faults.Server,
		genuine: "the client's host knows nothing of the connection any more (TCP_REPAIR) when the server answers",
		script: func(p *play) {
			p.open()
			p.request()
			p.do()
			p.server.Send("pong")
			p.await(isRST)
			p.server.Recv()
			p.server.Send("more")
		},
		act:   func(p *play) { p.forget(p.client) },
		shows: []string{"S>C [P.] seq=1 ack=5 len=4", "C>S [R] seq=5 len=0 win=0 !TS id=0 DF label=other"},
		says:  []string{`send("pong") = 4`, `recv() = ECONNRESET`, `send("more") = EPIPE`},
	},
	{
		name: "reset, at the request", fault: "reset:at=request,hit=client", watch: faults.Client,
		genuine: "the server's host knows nothing of the connection when the request comes (TCP_REPAIR)",
		script:  speaksFirst,
		act:     func(p *play) { p.forget(p.server) },
		shows:   []string{"C>S [P.] seq=1 ack=1 len=5", "S>C [R] seq=1 len=0 win=0 !TS id=0 DF label=other"},
		says:    []string{`send("hello") = 5`, `recv() = ECONNRESET`, `send("world") = EPIPE`, `recv() = EOF`},
	},
	{
		name: "half-open, rebooted", fault: "half-open:peer=rebooted", watch: faults.Client,
		genuine: "the server's host is torn down and another one put in its place, with the same addresses and no service",
		script:  speaksFirst,
		act: func(p *play) {
			p.must(p.Reboot())
			p.server.Close()
		},
		shows: []string{"C>S [P.] seq=1 ack=1 len=5", "S>C [R] seq=1 len=0 win=0 !TS id=0 DF label=other"},
		says:  []string{`send("hello") = 5`, `recv() = ECONNRESET`, `send("world") = EPIPE`, `recv() = EOF`},
		notOn: map[vantage]string{loopback: "a client on the same host does not survive its reboot"},
	},
	{
		name: "half-open, from yesterday", fault: "half-open:peer=rebooted,at=now", watch: faults.Client, late: true,
		genuine: "the server's host knows nothing of the connection any more (TCP_REPAIR), which was open long before",
		script: func(p *play) {
			p.open()
			p.exchange()
			p.start()
			p.do()
			p.client.Send("hello")
			p.await(isRST)
			p.client.Send("world")
			p.client.Send("again")
		},
		act:   func(p *play) { p.forget(p.server) },
		shows: []string{"C>S [P.] seq=5 ack=5 len=5", "S>C [R] seq=5 len=0 win=0 !TS id=0 DF label=other"},
		says:  []string{`send("hello") = 5`, `send("world") = ECONNRESET`, `send("again") = EPIPE`},
	},
	{
		name: "half-open, keepalive", fault: "half-open:peer=rebooted,at=age=400ms", watch: faults.Client,
		genuine: "the server's host knows nothing of the connection any more (TCP_REPAIR); the client only listens, with keepalive",
		script: func(p *play) {
			p.open()
			p.exchange()
			p.keepalive(p.client)
			p.do()
			p.client.Recv()
			p.client.Recv()
		},
		act: func(p *play) { p.forget(p.server) },
		shows: []string{
			"C>S [.] seq=4 ack=5 len=0", "S>C [R] seq=5 len=0 win=0 !TS id=0 DF label=other",
		},
		says: []string{`recv() = ECONNRESET`, `recv() = EOF`},
	},
	{
		name: "half-open, crashed", fault: "half-open:peer=crashed", watch: faults.Client,
		genuine: "the server's host loses its link; on loopback the kernel drops everything",
		script: func(p *play) {
			p.open()
			p.must(p.client.SetInt(unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 1500))
			p.do()
			p.client.Send("hello")
			p.client.Recv()
			p.client.Send("world")
		},
		act:   func(p *play) { p.unplug() },
		shows: []string{"C>S [P.] seq=1 ack=1 len=5", "C>S [P.] seq=1 ack=1 len=5 (again)"},
		says:  []string{`send("hello") = 5`, `recv() = ETIMEDOUT`, `send("world") = EPIPE`},
	},
	{
		name: "half-open, unreachable", fault: "half-open:peer=crashed,unreachable=true", watch: faults.Client, device: true,
		genuine: "the server's host is gone, and a router on the way says that it is unreachable",
		script: func(p *play) {
			p.open()
			p.must(p.client.SetInt(unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 1000))
			p.do()
			p.client.Send("hello")
			p.client.Recv()
			p.client.Send("world")
		},
		act:   func(p *play) { p.filter(match(toService(), p.unreachable(1, 3))) },
		shows: []string{"C>S [P.] seq=1 ack=1 len=5", "S>C ICMP unreachable", "C>S [P.] seq=1 ack=1 len=5 (again)"},
		says:  []string{`send("hello") = 5`, `recv() = EHOSTUNREACH`, `send("world") = EPIPE`},
	},
	{
		name: "half-open, closed", fault: "half-open:peer=closed,at=fin", watch: faults.Client, rerolls: true,
		genuine: "the server calls close, and a router on the way loses every FIN of it",
		prepare: func(p *play) { p.filter(match(fromService(), flags(fin, fin), drop())) },
		script: func(p *play) {
			p.open()
			p.exchange()
			p.do()
			p.client.Send("hello")
			p.await(isRST)
			p.client.Recv()
			p.client.Send("world")
		},
		act:     func(p *play) { p.server.Close() },
		healthy: func(p *play) { p.server.Close() },
		shows:   []string{"C>S [P.] seq=5 ack=5 len=5", "S>C [R] seq=5 len=0 win=0 !TS id=0 DF"},
		says:    []string{`send("hello") = 5`, `recv() = ECONNRESET`, `send("world") = EPIPE`},
	},
}

// speaksFirst is a client that finds out by sending.
func speaksFirst(p *play) {
	p.open()
	p.do()
	p.client.Send("hello")
	p.await(isRST)
	p.client.Recv()
	p.client.Send("world")
	p.client.Recv()
}

// keepalive makes an end probe after a second of silence, each second, and give
// up after two probes.
func (p *play) keepalive(a interface {
	SetInt(level, option, value int) error
}) {
	p.t.Helper()
	p.must(
		a.SetInt(unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1), a.SetInt(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 1),
		a.SetInt(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 1), a.SetInt(unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 2),
	)
}

// unplug takes the server's host off the wire.
func (p *play) unplug() {
	p.t.Helper()
	if p.at == loopback {
		p.filter(match(drop()))
		return
	}
	p.must(p.Unplug())
}
