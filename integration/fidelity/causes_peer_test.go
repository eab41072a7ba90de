package fidelity

import "github.com/faultctl/faultctl/faults"

// peerCauses are peers that are gone without notice.
var peerCauses = []cause{
	{
		name: "half-open, state lost", fault: "half-open:peer=rebooted", watch: faults.Client,
		genuine: "the server's host no longer knows the connection (TCP_REPAIR); the service is back",
		before:  opened, act: forgotten,
		then:  speaking,
		shows: []string{"C>S [P.] seq=1 ack=1 len=5", shapeB("S>C", 1) + " label=other"},
	},
	{
		name: "half-open, client gone", fault: "half-open:peer=rebooted,side=client,at=response", watch: faults.Server,
		genuine: "the client's host no longer knows the connection (TCP_REPAIR) when the server answers",
		before:  requested,
		act:     func(p *play) { p.forget(p.client) },
		then:    []string{`send("pong") = 4`, "RST", `recv() = ECONNRESET`, `send("more") = EPIPE`},
		shows:   []string{"S>C [P.] seq=1 ack=5 len=4", shapeB("C>S", 5) + " label=other"},
	},
	{
		name: "reset, at the request", fault: "reset:at=request,hit=client", watch: faults.Client,
		genuine: "the server's host no longer knows the connection (TCP_REPAIR) when the request arrives",
		before:  opened, act: forgotten,
		then:  speaking,
		shows: []string{"C>S [P.] seq=1 ack=1 len=5", shapeB("S>C", 1) + " label=other"},
	},
	{
		name: "half-open, rebooted", fault: "half-open:peer=rebooted", watch: faults.Client,
		genuine: "the server's host is removed and replaced by another one, with the same addresses and no service",
		before:  opened,
		act:     func(p *play) { p.must(p.Reboot()); p.server.Close() },
		then:    speaking,
		shows:   []string{"C>S [P.] seq=1 ack=1 len=5", shapeB("S>C", 1) + " label=other"},
		notOn:   map[placement]string{loopback: "a client on the same host does not survive the reboot"},
	},
	{
		name: "half-open, from yesterday", fault: "half-open:peer=rebooted,at=now", watch: faults.Client, late: true,
		genuine: "the server's host no longer knows the connection (TCP_REPAIR), which was opened long before",
		before:  exchanged, act: forgotten,
		then:  writing,
		shows: []string{"C>S [P.] seq=5 ack=5 len=5", shapeB("S>C", 5) + " label=other"},
	},
	{
		name: "half-open, keepalive", fault: "half-open:peer=rebooted,at=age=400ms", watch: faults.Client,
		genuine: "the server's host no longer knows the connection (TCP_REPAIR); the client only reads, with keepalive",
		before:  probing(exchanged), act: forgotten,
		then:  []string{`recv() = ECONNRESET`, `recv() = EOF`},
		shows: []string{"C>S [.] seq=4 ack=5 len=0", shapeB("S>C", 5) + " label=other"},
	},
	{
		name: "half-open, crashed", fault: "half-open:peer=crashed", watch: faults.Client,
		genuine: "the server's host loses its link; on loopback the kernel drops everything",
		before:  limited(opened, 1500), act: (*play).unplug,
		then:  []string{`send("hello") = 5`, `recv() = ETIMEDOUT`, `send("world") = EPIPE`},
		shows: []string{"C>S [P.] seq=1 ack=1 len=5", "C>S [P.] seq=1 ack=1 len=5 (again)"},
	},
	{
		name: "half-open, unreachable", fault: "half-open:peer=crashed,unreachable=true", watch: faults.Client, device: true,
		genuine: "the server's host is gone, and a router on the path reports that it is unreachable",
		before:  limited(opened, 1000),
		act:     func(p *play) { p.filter(match(toService(), p.unreachable(1, 3))) },
		then:    []string{`send("hello") = 5`, `recv() = EHOSTUNREACH`, `send("world") = EPIPE`},
		shows:   []string{"C>S [P.] seq=1 ack=1 len=5", "S>C ICMP unreachable", "C>S [P.] seq=1 ack=1 len=5 (again)"},
	},
	{
		name: "half-open, closed", fault: "half-open:peer=closed,at=fin", watch: faults.Client, rerolls: true,
		genuine: "the server calls close, and a router on the path drops each of its FINs",
		prepare: filters(match(fromService(), flags(fin, fin), drop())),
		before:  exchanged, act: closes, healthy: closes,
		then:  []string{"struck", `send("hello") = 5`, "RST", `recv() = ECONNRESET`, `send("world") = EPIPE`},
		shows: []string{"C>S [P.] seq=5 ack=5 len=5", shapeB("S>C", 5)},
	},
}

// unplug takes the link of the server's host down.
func (p *play) unplug() {
	p.t.Helper()
	if p.at == loopback {
		p.filter(match(drop()))
		return
	}
	p.must(p.Unplug())
}
