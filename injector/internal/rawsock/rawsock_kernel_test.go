package rawsock

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/faultctl/faultctl/injector/internal/kerneltest"
	"github.com/faultctl/faultctl/lab"

	"github.com/faultctl/faultctl/faults/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestSender checks that packets of a batch leave as they are, in their order, each
// by the route of its own mark, and that one which cannot leave takes none of the
// others with it.
func TestSender(t *testing.T) {
	kerneltest.NetNS(t)
	const barred, table = 7, 77 // that mark has no way out
	err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "here"}, PeerName: "there"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"there", "here"} {
		end, err := netlink.LinkByName(name)
		if err == nil {
			err = errors.Join(netlink.LinkSetARPOff(end), netlink.LinkSetUp(end))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	here, err := netlink.LinkByName("here")
	if err != nil {
		t.Fatal(err)
	}
	for family, prefix := range map[int]string{netlink.FAMILY_V4: "10.9.9.0/24", netlink.FAMILY_V6: "fd09::/64"} {
		_, dst, err := net.ParseCIDR(prefix)
		if err == nil {
			err = netlink.RouteAdd(&netlink.Route{LinkIndex: here.Attrs().Index, Dst: dst, Scope: netlink.SCOPE_LINK})
		}
		if err == nil {
			err = netlink.RouteAdd(&netlink.Route{Dst: dst, Table: table, Type: unix.RTN_PROHIBIT})
		}
		rule := netlink.NewRule()
		rule.Family, rule.Table, rule.Mark, rule.Priority = family, table, barred, 100
		if err == nil {
			err = netlink.RuleAdd(rule)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	wire, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0x0300) // ETH_P_ALL
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(wire)
	if err := unix.Bind(wire, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: here.Attrs().Index}); err != nil {
		t.Fatal(err)
	}
	s, err := Open(nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()

	var all []Packet
	var want [][]byte
	var errs []error // why each was not sent
	add := func(mark uint32, refused error, dst string) {
		to := netip.AddrPortFrom(netip.MustParseAddr(dst), 5432)
		from := netip.AddrPortFrom(to.Addr().Prev(), 40000)
		f := packet.Fields{Src: from, Dst: to, TTL: 64, ID: uint16(len(all) + 1), Seq: packet.Seq(len(all)), Flags: packet.ACK}
		all = append(all, Packet{Bytes: f.Append(nil, bytes.Repeat([]byte{byte(len(all))}, 1+7*len(all))), Mark: mark})
		errs = append(errs, refused)
		if refused == nil {
			want = append(want, all[len(all)-1].Bytes)
		}
	}
	for range BatchSize + 10 {
		add(0, nil, "10.9.9.9")
	}
	add(0, unix.ENETUNREACH, "10.8.8.8") // there is no route
	add(0, nil, "10.9.9.9")
	add(1, nil, "10.9.9.9")
	add(barred, unix.EACCES, "10.9.9.9")
	add(1, nil, "10.9.9.9")
	add(barred, unix.EACCES, "fd09::9")
	add(0, nil, "fd09::9")
	all, errs = append(all, Packet{Bytes: []byte("no packet")}), append(errs, errNoPacket)
	add(0, nil, "fd09::9")
	add(1, nil, "10.9.9.9")

	if n := s.Send(all); n != len(all)-len(want) {
		t.Errorf("send: %d unsent, want %d", n, len(all)-len(want))
	}
	for i := range all {
		if !errors.Is(all[i].Err, errs[i]) {
			t.Errorf("packet %d: %v, want %v", i, all[i].Err, errs[i])
		}
	}
	var got [][]byte
	for buf := make([]byte, 1<<16); ; {
		n, from, err := unix.Recvfrom(wire, buf, 0)
		if err != nil {
			break // nothing more: what has left was seen as it left
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); !ok || ll.Pkttype != unix.PACKET_OUTGOING {
			continue
		}
		if seg, err := packet.Parse(buf[:n]); err == nil && seg.DstPort() == 5432 {
			got = append(got, slices.Clone(buf[:n]))
		}
	}
	if !slices.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("%d packets left, or others than the %d that should, or in another order", len(got), len(want))
	}
	for _, again := range []struct {
		mark uint32
		want error
	}{{barred, unix.EACCES}, {0, nil}} { // the second time it has left, and no error of before stays
		pkts := []Packet{{Bytes: all[0].Bytes, Mark: again.mark, Err: unix.EPERM}}
		if s.Send(pkts); !errors.Is(pkts[0].Err, again.want) {
			t.Errorf("with mark %d: %v, want %v", again.mark, pkts[0].Err, again.want)
		}
	}
	if n := testing.AllocsPerRun(10, func() { s.Send(all[:BatchSize]) }); n != 0 {
		t.Errorf("%v allocations for a batch, want none", n)
	}
}

func TestMain(m *testing.M) { os.Exit(lab.Main(m.Run)) }
