package injector

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/kerneltest"
	"github.com/faultctl/faultctl/injector/internal/minirun"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// BenchmarkRules is what the kernel's rules cost a packet of an established flow
// while a fault waits, both ways and on average: the difference to a namespace
// that has none, where as many packets are sent in turn. The flow is one that
// the fault has seen open, or a bystander's.
func BenchmarkRules(b *testing.B) {
	for name, c := range map[string]struct {
		fault     NamedModel
		skip      uint64
		bystander bool
		ends      int  // of the target, if it names addresses
		nat       bool // the host translates other connections, with a run and without
	}{
		"bystander":        {fault: model(b, "reset", "at", "bytes=1000000000000"), bystander: true},
		"bystander-of-256": {fault: model(b, "syn-drop"), bystander: true, ends: 256},
		"half-open-of-256": {fault: model(b, "half-open", "at", "age=1h"), ends: 256},
		"syn-drop":         {fault: model(b, "syn-drop"), skip: 1_000_000},
		"refuse":           {fault: model(b, "refuse"), skip: 1_000_000},
		"idle-expire":      {fault: model(b, "idle-expire", "after", "1h")},
		"half-open":        {fault: model(b, "half-open", "at", "age=1h")},
		"closed-socket":    {fault: model(b, "closed-socket", "at", "age=1h")},
		"linger-reset":     {fault: model(b, "linger-reset")},
		"rst-close":        {fault: model(b, "rst-close")},
		"observe":          {fault: model(b, "observe")},
		"observe-nat":      {fault: model(b, "observe"), nat: true},
		"bystander-nat":    {fault: model(b, "observe"), bystander: true, nat: true},
	} {
		for family, ends := range map[string][2]string{"IPv4": {"10.9.0.1", "10.9.0.2"}, "IPv6": {"fd09::1", "fd09::2"}} {
			b.Run(name+"/"+family, func(b *testing.B) {
				rule := ruleOf(c.fault)
				rule.Pick.Skip = c.skip
				port := uint16(5432)
				if c.ends > 0 {
					rule.Match.To = nil
					for at := netip.MustParseAddr(ends[0]); len(rule.Match.To) < c.ends; at = at.Next() {
						rule.Match.To = append(rule.Match.To, target.Endpoint{Prefix: netip.PrefixFrom(at, at.BitLen()), LowPort: port, HighPort: port})
					}
					slices.Reverse(rule.Match.To) // those that are met come last
				}
				if c.bystander {
					port = 7777
				}
				here, there := netip.MustParseAddr(ends[0]), netip.MustParseAddr(ends[1])
				flows := [][2]netip.AddrPort{ // from here to there; of the second the service is here
					{netip.AddrPortFrom(here, 40000), netip.AddrPortFrom(there, port)},
					{netip.AddrPortFrom(here, port), netip.AddrPortFrom(there, 40000)},
				}
				translates := func(ns *os.File) {
					if c.nat {
						minirun.Shell(b, ns, "nft add table inet n; nft add chain inet n pre '{ type nat hook prerouting priority -100; }'; nft add rule inet n pre tcp dport 9 redirect to :10")
					}
				}
				translates(kerneltest.NetNS(b))
				bare := packetsAway(b, here, there)
				ns := kerneltest.NetNS(b)
				translates(ns)
				ruled := packetsAway(b, here, there)
				inj, stop := startInjector(b, ns, false, Config{Rules: []Rule{rule}})
				for i, f := range flows {
					opens(b, ruled, f[i], f[1-i])
				}
				time.Sleep(50 * time.Millisecond) // until the last verdict is given
				before := inj.totals.diverted.Load()
				var without, with []float64
				for b.Loop() {
					for _, f := range flows {
						without = append(without, bare.send(b, f[0], f[1]))
						with = append(with, ruled.send(b, f[0], f[1]))
					}
				}
				if n := inj.totals.diverted.Load() - before; n != 0 {
					b.Errorf("%d packets of %d entered user space while the fault waits", n, b.N*len(flows)*away)
				}
				stop()
				b.ReportMetric(typical(with)-typical(without), "ns/packet")
				b.ReportMetric(typical(without), "ns/bare")
			})
		}
	}
}

// typical is what a batch takes in which nothing else happened.
func typical(vs []float64) float64 {
	slices.Sort(vs)
	return vs[len(vs)/4]
}

// away is how many packets are sent by one system call.
const away = 64

// leaver sends packets of a made-up flow to a neighbour that swallows them.
type leaver struct {
	fd   int
	msgs [away]mmsghdr
	iovs [away]unix.Iovec
}

// packetsAway makes an interface where packets get lost, in the namespace of
// this thread, which has both addresses' net behind it.
func packetsAway(b *testing.B, here, there netip.Addr) *leaver {
	b.Helper()
	check := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "b0"}} // without ports
	check(netlink.LinkAdd(br))
	check(netlink.LinkSetUp(br))
	check(netlink.AddrAdd(br, &netlink.Addr{IPNet: &net.IPNet{IP: here.AsSlice(), Mask: net.CIDRMask(here.BitLen()-8, here.BitLen())}, Flags: unix.IFA_F_NODAD}))
	check(netlink.NeighSet(&netlink.Neigh{LinkIndex: br.Attrs().Index, State: netlink.NUD_PERMANENT, IP: there.AsSlice(), HardwareAddr: []byte{2, 0, 0, 0, 0, 9}}))
	l := &leaver{}
	var err error
	family := unix.AF_INET
	if here.Is6() {
		family = unix.AF_INET6
	}
	l.fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	check(err)
	b.Cleanup(func() { unix.Close(l.fd) })
	return l
}

func (l *leaver) sendTo(b *testing.B, f packet.Fields, n int) time.Duration {
	pkt := f.Append(nil, make([]byte, 100))
	var name []byte
	if dst := f.Dst.Addr(); dst.Is4() {
		sa := unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: dst.As4()}
		name = unsafe.Slice((*byte)(unsafe.Pointer(&sa)), unix.SizeofSockaddrInet4)
	} else {
		sa := unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: dst.As16()}
		name = unsafe.Slice((*byte)(unsafe.Pointer(&sa)), unix.SizeofSockaddrInet6)
	}
	for i := range n {
		l.iovs[i].Base = &pkt[0]
		l.iovs[i].SetLen(len(pkt))
		l.msgs[i].hdr = unix.Msghdr{Name: &name[0], Namelen: uint32(len(name)), Iov: &l.iovs[i]}
		l.msgs[i].hdr.SetIovlen(1)
	}
	start := time.Now()
	sent, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(l.fd), uintptr(unsafe.Pointer(&l.msgs[0])), uintptr(n), 0, 0, 0)
	took := time.Since(start)
	if errno != 0 || int(sent) != n {
		b.Fatalf("%d of %d packets sent: %v", sent, n, errno)
	}
	return took
}

// send returns how many nanoseconds a packet took.
func (l *leaver) send(b *testing.B, from, to netip.AddrPort) float64 {
	f := packet.Fields{Src: from, Dst: to, TTL: 64, DF: true, ID: 1, Seq: 1000, Ack: 1000, Flags: packet.ACK, Window: 1000}
	f.SetTimestamps(1, 1)
	return float64(l.sendTo(b, f, away).Nanoseconds()) / away
}

// opens opens the flow.
func opens(b *testing.B, l *leaver, client, server netip.AddrPort) {
	for _, f := range []packet.Fields{
		{Src: client, Dst: server, Seq: 999, Flags: packet.SYN},
		{Src: server, Dst: client, Seq: 999, Ack: 1000, Flags: packet.SYN | packet.ACK},
		{Src: client, Dst: server, Seq: 1000, Ack: 1000, Flags: packet.ACK},
	} {
		f.TTL, f.DF, f.Window = 64, true, 1000
		l.sendTo(b, f, 1)
		time.Sleep(20 * time.Millisecond)
	}
}

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
	_   [4]byte
}

// TestOwnPortOfClient checks that a flow is known again whichever of its ends has
// the service's port: that of a client that calls from it, which is none of the
// rule's, and that between two services.
func TestOwnPortOfClient(t *testing.T) {
	for name, faults := range map[string][]NamedModel{
		"all":          fake(faults.Diversion{All: true}),
		"idle":         {model(t, "idle-expire", "after", "1h")},
		"idle trigger": {model(t, "reset", "at", "idle=1h")},
	} {
		for to, ours := range map[string]bool{"127.0.0.1:80": false, "127.0.0.1:5432": true} {
			t.Run(name+"/"+to, func(t *testing.T) {
				ns := kerneltest.NetNS(t)
				inj, stop := startInjector(t, ns, false, Config{Rules: []Rule{{
					Match: target.Matcher{To: []target.Endpoint{{LowPort: 5432, HighPort: 5432}}}, Faults: faults,
				}}})
				talkFrom(t, net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2), Port: 5432}}, netip.MustParseAddrPort(to), 20)
				stop()
				s := inj.Stats()
				if chosen := s.Rules[0].Chosen == 1; chosen != ours {
					t.Errorf("%d connections chosen, want one: %v", s.Rules[0].Chosen, ours)
				}
				if whole := ours && name == "all"; whole && s.Diverted < 40 || !whole && s.Diverted != 1 {
					t.Errorf("%d packets entered user space, want all 40 or more: %v, or else the SYN", s.Diverted, whole)
				}
			})
		}
	}
}
