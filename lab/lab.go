// Package lab builds hosts for experiments: network namespaces on this machine,
// connected by veth pairs.
//
//	client                     router                    server
//	10.77.1.1 ─── veth ─── 10.77.1.254
//	fd77:1::1              fd77:1::fe
//	                       10.77.2.254 ─── veth ─── 10.77.2.1
//	                       fd77:2::fe               fd77:2::1
//
// The namespaces have no names and are held by file descriptors only, so nothing
// is left of them when the process ends, however it ends. It needs CAP_NET_ADMIN
// and CAP_SYS_ADMIN; those of a user namespace are enough.
package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/faultctl/faultctl/internal/netns"
	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Lab is three hosts in a row.
type Lab struct {
	Client, Router, Server *Node
}

// Node is one host.
type Node struct {
	Name string
	NS   *os.File   // its network namespace
	V4   netip.Addr // its address; of the router, the one that faces the client
	V6   netip.Addr

	net *netlink.Handle
}

// New builds a lab, which Close removes. If the kernel has no IPv6, the hosts have
// IPv4 only.
func New() (*Lab, error) { return build(IPv6()) }

// IPv6 reports whether the kernel supports IPv6: with ipv6.disable=1 it does not.
func IPv6() bool {
	_, err := os.Stat("/proc/sys/net/ipv6")
	return err == nil
}

// NewIPv4 builds a lab whose hosts have IPv4 only. That saves entries in the table
// of IPv6 neighbours, which all namespaces of a machine share: it has 1024 entries
// by default (gc_thresh3).
func NewIPv4() (*Lab, error) { return build(false) }

func build(v6 bool) (l *Lab, err error) {
	l = &Lab{}
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	for _, n := range []struct {
		at   **Node
		name string
		v4   string
		v6   string
	}{
		{&l.Client, "client", "10.77.1.1", "fd77:1::1"},
		{&l.Router, "router", "10.77.1.254", "fd77:1::fe"},
		{&l.Server, "server", "10.77.2.1", "fd77:2::1"},
	} {
		if *n.at, err = newNode(n.name, netip.MustParseAddr(n.v4), netip.MustParseAddr(n.v6)); err != nil {
			return l, fmt.Errorf("make host %s: %w", n.name, err)
		}
		if !v6 {
			(*n.at).V6 = netip.Addr{}
			if !IPv6() {
				continue
			}
			if err = (*n.at).Sysctl("net/ipv6/conf/all/disable_ipv6", "1"); err == nil {
				err = (*n.at).Sysctl("net/ipv6/conf/default/disable_ipv6", "1")
			}
			if err != nil {
				return l, fmt.Errorf("turn off IPv6 on %s: %w", n.name, err)
			}
		}
	}
	err = l.Router.Sysctl("net/ipv4/ip_forward", "1")
	if err == nil && v6 {
		err = l.Router.Sysctl("net/ipv6/conf/all/forwarding", "1")
	}
	if err != nil {
		return l, fmt.Errorf("turn on forwarding: %w", err)
	}
	if err = l.Router.wire(l.Client, "c0", "10.77.1.254", "fd77:1::fe"); err != nil {
		return l, fmt.Errorf("wire client: %w", err)
	}
	if err = l.Router.wire(l.Server, "s0", "10.77.2.254", "fd77:2::fe"); err != nil {
		return l, fmt.Errorf("wire server: %w", err)
	}
	for _, to := range []netip.Addr{l.Server.V4, l.Server.V6} {
		if to.IsValid() && !Eventually(func() bool { return l.Client.reaches(to) }) {
			return l, fmt.Errorf("the client does not reach %s", to)
		}
	}
	return l, nil
}

// Unplug takes the server's link down: packets to it are lost silently.
func (l *Lab) Unplug() error {
	link, err := l.Server.net.LinkByName("eth0")
	if err == nil {
		err = l.Server.net.LinkSetDown(link)
	}
	if err != nil {
		return fmt.Errorf("unplug server: %w", err)
	}
	return nil
}

// Reboot unplugs the server and puts another host in its place, with the same
// addresses and none of its connections. The old host's sockets are closed, and
// nothing that they send reaches anybody.
func (l *Lab) Reboot() error {
	if err := l.Unplug(); err != nil {
		return err
	}
	link, err := l.Router.net.LinkByName("s0")
	if err == nil {
		err = l.Router.net.LinkDel(link)
	}
	if err != nil {
		return fmt.Errorf("remove the link of the server: %w", err)
	}
	l.Server.net.Close()
	l.Server.NS.Close()
	again, err := newNode("server", l.Server.V4, l.Server.V6)
	if err != nil {
		return fmt.Errorf("make host server again: %w", err)
	}
	*l.Server = *again
	if err := l.Router.wire(l.Server, "s0", "10.77.2.254", "fd77:2::fe"); err != nil {
		return fmt.Errorf("wire server again: %w", err)
	}
	for _, to := range []netip.Addr{l.Server.V4, l.Server.V6} {
		if to.IsValid() && !Eventually(func() bool { return l.Client.reaches(to) }) {
			return fmt.Errorf("the client does not reach %s again", to)
		}
	}
	return nil
}

// reaches reports whether a host answers a SYN to a port where nothing listens
// with a RST. Until it does, routes and neighbours of the new namespace are still
// being set up, and packets may be lost.
func (n *Node) reaches(to netip.Addr) bool {
	a, err := n.Client(to)
	if err != nil {
		return false
	}
	defer a.Close()
	a.Timeout(50 * time.Millisecond)
	return a.Connect(netip.AddrPortFrom(to, 1)) == "ECONNREFUSED"
}

// Close removes the hosts and closes the sockets in them.
func (l *Lab) Close() {
	for _, n := range []*Node{l.Client, l.Router, l.Server} {
		if n != nil {
			n.net.Close()
			n.NS.Close()
		}
	}
}

func newNode(name string, v4, v6 netip.Addr) (*Node, error) {
	n := &Node{Name: name, V4: v4, V6: v6}
	ns, err := netns.New(nil)
	if err != nil {
		return nil, err
	}
	n.NS = ns
	if n.net, err = netlink.NewHandleAt(vnetns.NsHandle(n.NS.Fd())); err != nil {
		return nil, err
	}
	lo, err := n.net.LinkByName("lo")
	if err != nil {
		return nil, err
	}
	// Always the same congestion control, whatever the machine uses: tests compare
	// its windows and timers.
	if err := n.Sysctl("net/ipv4/tcp_congestion_control", "cubic"); err != nil && !errors.Is(err, os.ErrNotExist) {
		if err = n.Sysctl("net/ipv4/tcp_congestion_control", "reno"); err != nil {
			return nil, err
		}
	}
	// An address is usable at once: there are no other hosts on these links.
	for _, conf := range []string{"all", "default"} {
		if !IPv6() {
			break
		}
		if err := n.Sysctl("net/ipv6/conf/"+conf+"/dad_transmits", "0"); err != nil {
			return nil, err
		}
		if err := n.Sysctl("net/ipv6/conf/"+conf+"/accept_dad", "0"); err != nil {
			return nil, err
		}
	}
	return n, n.net.LinkSetUp(lo)
}

// wire connects the host to another one, which gets an interface eth0 and a
// default route.
func (n *Node) wire(to *Node, name, v4, v6 string) error {
	veth := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0",
		PeerNamespace: netlink.NsFd(to.NS.Fd()),
	}
	if err := n.net.LinkAdd(veth); err != nil {
		return err
	}
	for _, end := range []struct {
		at     *Node
		link   string
		v4, v6 string
	}{{n, name, v4, v6}, {to, "eth0", to.V4.String(), to.V6.String()}} {
		link, err := end.at.net.LinkByName(end.link)
		if err != nil {
			return err
		}
		if err := end.at.Do(func() error { return disableOffloads(end.link) }); err != nil {
			return err
		}
		for _, a := range []string{end.v4 + "/24", end.v6 + "/64"} {
			if a == end.v6+"/64" && !to.V6.IsValid() {
				continue
			}
			addr, err := netlink.ParseAddr(a)
			if err != nil {
				return err
			}
			addr.Flags = unix.IFA_F_NODAD
			if err := end.at.net.AddrAdd(link, addr); err != nil {
				return err
			}
		}
		if err := end.at.net.LinkSetUp(link); err != nil {
			return err
		}
	}
	// Until the kernel has seen the carrier, packets on the link are dropped.
	ends := [2]linkEnd{{n, name, addrs(v4, v6, to.V6.IsValid())}, {to, "eth0", addrs(to.V4.String(), to.V6.String(), to.V6.IsValid())}}
	for _, end := range ends {
		if !Eventually(func() bool {
			link, err := end.node.net.LinkByName(end.link)
			return err == nil && link.Attrs().OperState == netlink.OperUp
		}) {
			return fmt.Errorf("%s of %s does not come up", end.link, end.node.Name)
		}
	}
	if err := addNeighbours(ends[0], ends[1]); err != nil {
		return err
	}
	for _, gw := range []string{v4, v6} {
		if gw == v6 && !to.V6.IsValid() {
			continue
		}
		if err := to.net.RouteAdd(&netlink.Route{Gw: netip.MustParseAddr(gw).AsSlice(), Dst: nil}); err != nil {
			return fmt.Errorf("default route by %s: %w", gw, err)
		}
	}
	return nil
}

// Do runs f in the host's network namespace, on a thread of its own, and returns
// its error. Sockets that f opens stay in the namespace.
func (n *Node) Do(f func() error) error {
	return netns.Do(n.NS, f)
}

// Listens reports whether a program on the host listens there, without connecting
// to it.
func (n *Node) Listens(at netip.AddrPort) bool {
	var file []byte
	if n.Do(func() (err error) {
		file, err = os.ReadFile("/proc/thread-self/net/tcp" + map[bool]string{true: "6"}[at.Addr().Is6()])
		return err
	}) != nil {
		return false
	}
	for line := range strings.Lines(string(file)) {
		// sl, local_address, rem_address, st: 0A is TCP_LISTEN
		if f := strings.Fields(line); len(f) > 3 && f[3] == "0A" && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", at.Port())) {
			return true
		}
	}
	return false
}

// Sysctl sets a kernel parameter of the host, such as net/ipv4/tcp_timestamps.
func (n *Node) Sysctl(name, value string) error {
	return n.Do(func() error {
		return os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0)
	})
}

// Counter reads a counter of the host's TCP, named as in nstat, such as
// TcpRetransSegs or TcpExtTCPChallengeACK. It is 0 for a name that the kernel does
// not know.
func (n *Node) Counter(name string) (value uint64, err error) {
	err = n.Do(func() error {
		for _, file := range []string{"snmp", "netstat"} {
			b, err := os.ReadFile("/proc/thread-self/net/" + file)
			if err != nil {
				return err
			}
			lines := strings.Split(string(b), "\n")
			for i := 0; i+1 < len(lines); i += 2 {
				prefix, names, _ := strings.Cut(lines[i], ":")
				_, values, _ := strings.Cut(lines[i+1], ":")
				vs := strings.Fields(values)
				for j, f := range strings.Fields(names) {
					if prefix+f == name && j < len(vs) {
						fmt.Sscan(vs[j], &value)
					}
				}
			}
		}
		return nil
	})
	return value, err
}

// Netlink returns a handle to the links, routes and rules of the host.
func (n *Node) Netlink() *netlink.Handle { return n.net }
