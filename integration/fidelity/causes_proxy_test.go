package fidelity

import (
	"errors"
	"fmt"
	"net"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/lab"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// proxyCauses are failures of a proxy that neither end knows about.
var proxyCauses = []cause{
	{
		name: "reset, both ends", fault: "reset:at=age=1s,hit=both,shape=a", watch: faults.Both, asks: true,
		genuine: "a transparent proxy on the router, which each end takes for the other end, dies: both of its sockets are closed with SO_LINGER on and a timeout of zero",
		prepare: (*play).proxy,
		before:  exchanged,
		act:     func(p *play) { close(p.dies) },
		then:    later(`recv() = ECONNRESET`, `send("hello") = EPIPE`, `server: recv() = ECONNRESET`, `server: send("hello") = EPIPE`),
		shows:   []string{"S>C [P.] seq=1 ack=5 len=4", shapeA("S>C", 5, 5)},
		notOn:   map[placement]string{loopback: "a proxy on the same host would have another address or port"},
	},
}

// proxy puts a transparent proxy on the router: it receives the service's packets
// of both ends as its own, and answers with the address and the TTL of the other
// end.
func (p *play) proxy() {
	p.t.Helper()
	const table, port = 100, 5432
	family, loopbackNet := netlink.FAMILY_V4, &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
	if p.v6 {
		family, loopbackNet = netlink.FAMILY_V6, &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
	}
	nl := p.path.Netlink()
	lo, err := nl.LinkByName("lo")
	p.must(err)
	p.must(nl.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Table: table, Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST, Dst: loopbackNet}))
	for iface, service := range map[string]func(*netlink.Rule){
		"c0": func(r *netlink.Rule) { r.Dport = netlink.NewRulePortRange(port, port) },
		"s0": func(r *netlink.Rule) { r.Sport = netlink.NewRulePortRange(port, port) },
	} {
		r := netlink.NewRule()
		r.Family, r.Table, r.IifName, r.IPProto, r.Priority = family, table, iface, unix.IPPROTO_TCP, 10
		service(r)
		p.must(nl.RuleAdd(r))
	}
	if p.v6 {
		p.must(p.path.Sysctl("net/ipv6/conf/c0/hop_limit", "63"), p.path.Sysctl("net/ipv6/conf/s0/hop_limit", "63"))
	} else {
		p.must(p.path.Sysctl("net/ipv4/ip_default_ttl", "63"))
	}
	ln, err := p.path.ListenAs(p.service, 16)
	p.must(err)
	p.dies = make(chan struct{})
	over, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- p.relay(ln, over) }()
	p.cleanup(func() {
		close(over) // dies is not closed if the play was aborted
		ln.Shutdown()
		if err := <-ended; err != nil {
			p.t.Errorf("the proxy: %v", err)
		}
		ln.Close()
	})
}

// relay forwards a request and its response, and aborts both connections when
// p.dies or over is closed.
func (p *play) relay(ln *lab.App, over <-chan struct{}) error {
	front, err := ln.Accept()
	if err != nil {
		return err
	}
	defer front.Close()
	back, err := p.path.ClientAs(front.Peer())
	if err != nil {
		return err
	}
	defer back.Close()
	if got := back.Connect(p.service); got != "ok" {
		return fmt.Errorf("connect to the service: %s", got)
	}
	back.Send(front.Recv())
	front.Send(back.Recv())
	select {
	case <-p.dies:
	case <-over:
	}
	return errors.Join(front.Linger(), back.Linger())
}
