package fidelity

import (
	"net/netip"
	"testing"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"golang.org/x/sys/unix"
)

// noCauses are faults that nothing on this machine does by itself.
var noCauses = []cause{
	{
		name: "paws-reject", fault: "paws-reject",
		none: "Linux does this no more since 4.12, which took tcp_tw_recycle out; a test holds that this kernel answers such a SYN. The fault drops SYNs, as syn-drop does, for another reason",
	},
	{
		name: "reset, both ends", fault: "reset:hit=both",
		none: "no kernel resets both ends of a connection at once; to each end it is the same as a reset of that end alone",
	},
	{
		name: "idle-expire, rst-both", fault: "idle-expire:then=rst-both",
		none: "load balancers of F5 and Azure do it, nothing in Linux does; their makers document direction and moment only",
	},
	{
		name: "idle-expire, client-only", fault: "idle-expire:then=client-only",
		none: "AWS's network load balancer is documented to do it, nothing in Linux does",
	},
	{
		name: "bad-seq", fault: "bad-seq",
		none: "such segments are forged by nature, by an attacker or a confused device; what the receiver answers is its own kernel's in either lane",
	},
}

// TestNoPAWSReject holds that this kernel answers a SYN whose timestamp lies far
// before the last one from the same address.
func TestNoPAWSReject(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		t.Run(family(v6), func(t *testing.T) {
			t.Parallel()
			p := begin(t, &cause{watch: faults.Server}, genuine, atRouter, v6)
			p.open()
			p.exchange()
			p.settle(nil)
			first := p.door(p.watched[0])[0]
			val, _, stamped := first.Timestamps()
			if !stamped {
				t.Fatal("no timestamps on this host")
			}
			p.server.Close() // the server's end remains in TIME_WAIT
			p.client.Recv()
			p.client.Close()
			p.port = 4242
			f := packet.Fields{Src: first.SrcAddrPort(), Dst: p.service, TTL: 64, DF: true, Flags: packet.SYN, Seq: 1, Window: 1000}
			f.Src = netip.AddrPortFrom(f.Src.Addr(), p.port)
			f.SetTimestamps(val-1<<20, 0)
			p.must(p.raw(f.Append(nil, nil)))
			p.await(func(l line) bool { return l.Flags == "S." })
		})
	}
}

// raw sends a packet from the client's host.
func (p *play) raw(pkt []byte) error {
	return p.from.Do(func() error {
		af, to := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Addr: p.Server.V4.As4()})
		if p.v6 {
			af, to = unix.AF_INET6, &unix.SockaddrInet6{Addr: p.Server.V6.As16()}
		}
		fd, err := unix.Socket(af, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, pkt, 0, to)
	})
}
