package fidelity

import (
	"net/netip"
	"testing"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/lab"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
)

// pawsCauses are SYNs that are dropped because of their timestamp. Linux's TCP no
// longer does that since 4.12, which removed tcp_tw_recycle (TestNoPAWSReject
// checks it), but its packet filter can.
var pawsCauses = []cause{
	{
		name: "paws-reject", fault: "paws-reject", watch: faults.Client,
		genuine: "two hosts are behind one NAT, and the client's clock is 1.5 s slow: a packet filter (nftables, since tcp_tw_recycle no longer exists) drops SYNs whose timestamp is older than the last one from their address, until the client's clock has caught up",
		before: func(p *play) {
			p.must(p.from.Sysctl("net/ipv4/tcp_timestamps", "2")) // one timestamp clock for all connections of a host, as in those kernels
			p.ahead = p.clock() + 1500
			p.must(p.raw(p.from, p.strangerSYN(p.ahead), 0))
		},
		act:   func(p *play) { p.filter(match(toService(), flags(syn|ack, syn), stampedBefore(p.ahead-1), drop())) },
		then:  []string{`connect() = ok`, "accept", `send("ping") = 4`, `server: recv() = ping`, "quiet"},
		shows: []string{"C>S [S] seq=0 TS", "C>S [S] seq=0 TS (again)", "S>C [S.] seq=0 ack=1 TS", "C>S [P.] seq=1 ack=1 len=4"},
	},
}

// strangerPort is the port of another host behind the client's address.
const strangerPort = 4242

// strangerSYN is a SYN of that host.
func (p *play) strangerSYN(stamp uint32) []byte {
	addr := pick(p.v6, p.from.V6, p.from.V4)
	if p.at == loopback {
		addr = p.service.Addr()
	}
	f := packet.Fields{
		Src: netip.AddrPortFrom(addr, strangerPort), Dst: p.service,
		TTL: 64, DF: true, Flags: packet.SYN, Seq: 1, Window: 1000,
	}
	f.SetTimestamps(stamp, 0)
	return f.Append(nil, nil)
}

// clock returns the timestamp with which the client's host starts a connection.
func (p *play) clock() (val uint32) {
	p.t.Helper()
	c, err := p.from.Client(p.service.Addr())
	p.must(err)
	p.cleanup(c.Close)
	if got := c.Connect(p.service); got != "ok" {
		p.t.Fatalf("%s lane: connect: %s", p.lane, got)
	}
	s, err := p.ln.Accept()
	p.must(err)
	p.cleanup(s.Close)
	stamped := false
	if !p.ends[faults.Client].stack.Wait(c.Local().Port(), func(segs []lab.Captured) bool {
		if len(segs) > 0 {
			val, _, stamped = segs[0].Timestamps()
		}
		return stamped
	}) {
		p.t.Fatal("no timestamps on this host")
	}
	return val
}

// stampedBefore matches segments whose timestamp is less than val.
func stampedBefore(val uint32) rule {
	const timestamps, tsval, length = 8, 2, 4
	return rule{
		&expr.Exthdr{DestRegister: 1, Type: timestamps, Offset: tsval, Len: length, Op: expr.ExthdrOpTcpopt},
		&expr.Cmp{Op: expr.CmpOpLt, Register: 1, Data: binaryutil.BigEndian.PutUint32(val)},
	}
}

// TestNoPAWSReject checks that this kernel answers a SYN whose timestamp is far
// older than the last one from the same address.
func TestNoPAWSReject(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		t.Run(family(v6), func(t *testing.T) {
			t.Parallel()
			p := begin(t, &cause{watch: faults.Server}, genuine, atRouter, v6)
			val := p.clock()
			p.port = strangerPort
			p.must(p.raw(p.from, p.strangerSYN(val-1<<20), 0))
			p.await(func(l line) bool { return l.Flags == "S." })
		})
	}
}
