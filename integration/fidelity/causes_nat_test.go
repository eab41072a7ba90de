package fidelity

import (
	"bytes"
	"net/netip"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// natCauses are failures of a NAT.
var natCauses = []cause{
	{
		name: "nat-leak", fault: "nat-leak:at=idle=500ms", watch: faults.Both, stranger: true,
		genuine: "the client reaches the server by an address of a router that translates it (DNAT); a segment of the server lies outside of the window (a raw socket sends it), so the router's connection tracking calls it invalid (nf_conntrack_tcp_be_liberal=0) and does not translate it; the client's host answers it with a RST, to the server",
		prepare: func(p *play) {
			p.must(p.path.Sysctl("net/netfilter/nf_conntrack_tcp_be_liberal", "0"))
			p.translate()
		},
		needs: canTrack,
		script: func(p *play) {
			p.dial()
			to := p.service
			if p.lane == genuine {
				p.called = pick(p.v6, p.path.V6, p.path.V4)
				to = netip.AddrPortFrom(p.called, to.Port())
			}
			p.client.Connect(to)
			p.port = p.client.Local().Port()
			p.accept()
			p.exchange()
			p.awaitAt(p.ends[faults.Server], func(l line) bool { return fits(l, "S>C [P.] seq=1 ack=5 len=4", p.v6) })
			var last []byte
			for _, s := range p.stack(p.ends[faults.Server]) {
				if s.Out && s.PayloadLen() > 0 {
					last = bytes.Clone(s.Bytes())
				}
			}
			if p.vain != "" {
				return
			}
			stray, err := packet.Parse(last)
			p.must(err)
			stray.SetSeq(stray.Seq().Add(1 << 20))
			stray.UpdateChecksums()
			p.idle(700 * time.Millisecond)
			p.do()
			p.must(p.raw(p.to, stray.Bytes(), 0))
			p.awaitAt(p.ends[faults.Server], isRST)
			p.server.Recv()
			p.client.Timeout(300 * time.Millisecond)
			p.client.Recv()
			p.client.Send("hello")
			p.await(isRST)
			p.client.Recv()
			p.client.Send("world")
		},
		shows: []string{"S>C [P.] seq=1 ack=5 len=4", "C>S [P.] seq=5 ack=5 len=5", shapeB("S>C", 5)},
		notOn: map[placement]string{loopback: "there is no NAT between a host and itself"},
	},
}

// translate has the router's address stand for the service (DNAT).
func (p *play) translate() {
	p.t.Helper()
	c, err := nftables.New(nftables.WithNetNSFd(int(p.path.NS.Fd())))
	p.must(err)
	family := pick(p.v6, nftables.TableFamilyIPv6, nftables.TableFamilyIPv4)
	t := c.AddTable(&nftables.Table{Name: "device_nat", Family: family})
	ch := c.AddChain(&nftables.Chain{
		Name: "prerouting", Table: t, Type: nftables.ChainTypeNAT, Priority: nftables.ChainPriorityNATDest, Hooknum: nftables.ChainHookPrerouting,
	})
	at := pick(p.v6, p.path.V6, p.path.V4)
	offset, length := pick[uint32](p.v6, 24, 16), pick[uint32](p.v6, 16, 4)
	c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: match(toService(), rule{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: at.AsSlice()},
		&expr.Immediate{Register: 1, Data: p.service.Addr().AsSlice()},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(pick(p.v6, unix.NFPROTO_IPV6, unix.NFPROTO_IPV4)), RegAddrMin: 1},
	})})
	p.must(c.Flush())
}
