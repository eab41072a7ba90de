package injector

import (
	"fmt"
	"net/netip"
	"os"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/nft"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Where the host translates destinations (DNAT) a connection's packets have the server's
// own address where they are judged, and its client knows another. The kernel's rules
// put that name into a map (see ruleset); here it is looked up, once a connection, and
// given to what is sent where conntrack would not translate it.

// nameReader knows what clients of translated connections call their servers.
type nameReader interface {
	// Name returns it, and whether the client's own address is translated as well, as
	// far as a packet has told. It reports false if the connection is not translated.
	Name(client, server netip.AddrPort) (name netip.AddrPort, sourced, ok bool, err error)
}

// alias is what a connection's client calls its server, if it is another name than that
// under which it is judged.
type alias struct {
	server    netip.AddrPort
	known     bool
	sourced   bool // the client's address is translated too: conntrack knows neither end by the names of the flow
	asked     bool // sourced is as it will be
	localhost bool // the client is on this host
}

// learnName looks up the alias of a connection that is new here, and returns the
// direction of the segment that began it: where no SYN was seen conntrack knows better
// who the client is.
func (w *worker) learnName(e *entry, dir faults.Direction) faults.Direction {
	if e.alias.known = w.askName(e); e.alias.known || e.fresh {
		return dir
	}
	e.Client, e.Server = e.Server, e.Client
	if e.alias.known = w.askName(e); e.alias.known {
		return dir.Flip()
	}
	e.Client, e.Server = e.Server, e.Client
	return dir
}

func (w *worker) askName(e *entry) bool {
	name, sourced, ok, err := w.names.Name(e.Client, e.Server)
	if err != nil {
		w.log.Warn("not known whether a connection is translated", "error", err)
	}
	e.alias.server, e.alias.sourced = name, sourced
	return ok
}

// translated reports whether the names of the flow are none for conntrack: both ends'
// addresses are translated. Before the server has answered nobody knows.
func (w *worker) translated(f *entry) bool {
	if !f.alias.sourced && !f.alias.asked {
		f.alias.asked = f.Half[faults.Reply].Seen || f.openBefore
		server := f.alias.server
		if !w.askName(f) {
			f.alias.server = server
		}
	}
	return f.alias.sourced
}

// rename gives a packet of the flow that is about to be sent the name of the server that
// its client uses, where it would not arrive otherwise. Towards the client that is an
// answer to a SYN, which is of no connection yet for conntrack; everything, if the
// client's address is translated as well, or if the client is on this host. Towards the
// server such packets are sent as the client sends them, and conntrack does the rest.
func (w *worker) rename(f *entry, pkt []byte) {
	if !f.alias.known {
		return
	}
	s, err := packet.Parse(pkt)
	if err != nil { // an ICMP error, to the client
		if f.alias.localhost || !f.Half[faults.Reply].Seen && !f.openBefore || w.translated(f) {
			packet.RenameQuoted(pkt, f.alias.server)
		}
		return
	}
	switch {
	case s.DstAddrPort() == f.Client:
		if f.alias.localhost || !f.Half[faults.Reply].Seen && !f.openBefore || w.translated(f) {
			s.SetEnds(f.alias.server, f.Client)
		}
	case f.alias.localhost || !s.Flags().Has(packet.SYN) && w.translated(f):
		s.SetEnds(f.Client, f.alias.server)
	}
}

// met takes down where a packet of the flow was judged.
func (a *alias) met(hook uint8, dir faults.Direction) {
	if hook == unix.NF_INET_LOCAL_OUT && dir == faults.Original || hook == unix.NF_INET_LOCAL_IN && dir == faults.Reply {
		a.localhost = true
	}
}

// SocketEnds returns the addresses of the connection as the socket knows them that sends
// in that direction, if that socket is on this host.
func (f *entry) SocketEnds(dir faults.Direction) (local, remote netip.AddrPort) {
	switch {
	case dir == faults.Reply:
		return f.Server, f.Client
	case f.alias.known && f.alias.localhost:
		return f.Client, f.alias.server
	}
	return f.Client, f.Server
}

// matches reports whether the rule is about the connection, by either of the server's
// names.
func (r *ruleState) matches(e *entry) bool {
	m := r.match.Load()
	return m.Matches(e.Client, e.Server) || e.alias.known && m.Matches(e.Client, e.alias.server)
}

// NAT tells where a namespace translates destinations, and what that means for a run.
type NAT struct {
	IPv4, IPv6 bool // it has rules that may translate

	// Unnamed is why answers of ours to a SYN, and all that is sent where the client's
	// address is translated as well, do not arrive: the kernel cannot be asked for what
	// the client calls its server. Nil if it can.
	Unnamed error
}

// FindNAT finds out how the namespace, nil being the caller's own, translates. It sees
// rules of nftables and of iptables, but neither IPVS nor what eBPF programs or Open
// vSwitch do. A run looks once, when it begins. It leaves nothing behind.
func FindNAT(ns *os.File) (NAT, error) {
	has, err := nft.NAT(ns)
	n := NAT{IPv4: has[ruleset.IPv4], IPv6: has[ruleset.IPv6]}
	if err == nil && (n.IPv4 || n.IPv6) {
		n.Unnamed = nft.ProbeNames(ns, has)
	}
	return n, err
}

// findNAT takes down how the namespace translates, for the rules. It touches nothing.
func (at *place) findNAT(ns *os.File) (err error) {
	if at.nat, err = nft.NAT(ns); err != nil || !at.translates() {
		return err
	}
	at.local, err = localAddrs(ns)
	return err
}

func (at *place) translates() bool { return at.nat != [2]bool{} }

// localAddrs are the addresses of the namespace.
func localAddrs(ns *os.File) (as []netip.Addr, err error) {
	at := netns.None()
	if ns != nil {
		at = netns.NsHandle(ns.Fd())
	}
	h, err := netlink.NewHandleAt(at, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	defer h.Close()
	addrs, err := h.AddrList(nil, unix.AF_UNSPEC)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	had := map[netip.Addr]bool{}
	for _, a := range addrs {
		if ip, ok := netip.AddrFromSlice(a.IP); ok && !had[ip.Unmap()] {
			had[ip.Unmap()] = true
			as = append(as, ip.Unmap())
		}
	}
	return as, nil
}
