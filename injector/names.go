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

// If the host translates destinations (DNAT), the packets of a connection have the
// server's own address where they are judged, but the client knows another one. The
// kernel's rules put that name into a map (see ruleset). The worker looks it up once
// per connection, and uses it in what is sent where conntrack would not translate it.

// nameReader knows by which address the clients of translated connections know their
// servers.
type nameReader interface {
	// Name returns it, and whether the client's own address is translated as well, as
	// far as packets have shown. ok is false if the connection is not translated.
	Name(client, server netip.AddrPort) (name netip.AddrPort, sourced, ok bool, err error)
}

// alias is the name by which a connection's client knows its server, if it is not the
// one under which it is judged.
type alias struct {
	server    netip.AddrPort
	known     bool
	sourced   bool // the client's address is translated too, so conntrack knows neither end by the names of the flow
	asked     bool // sourced is final
	localhost bool // the client is on this host
}

// learnName looks up the alias of a connection that is new here, and returns the
// direction of its first segment. If that is not a SYN, conntrack knows best who the
// client is.
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
		w.log.Warn("cannot find out whether a connection is translated", "error", err)
	}
	e.alias.server, e.alias.sourced = name, sourced
	return ok
}

// translated reports whether conntrack does not know the flow by its names, because
// both addresses are translated. This is not known before the server has answered.
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

// rename puts the server's alias into a packet of the flow that is about to be sent,
// where it would not arrive otherwise. To the client, that is the answer to a SYN,
// which conntrack does not assign to any connection yet; and everything, if the
// client's address is translated as well or the client is on this host. To the server,
// such packets are sent as the client sends them, and conntrack does the rest.
func (w *worker) rename(f *entry, pkt []byte) {
	if !f.alias.known {
		return
	}
	s, err := packet.Parse(pkt)
	if err != nil { // an ICMP error to the client
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

// met notes where a packet of the flow was judged.
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

// matches reports whether the rule matches the connection, under either name of the
// server.
func (r *ruleState) matches(e *entry) bool {
	m := r.match.Load()
	return m.Matches(e.Client, e.Server) || e.alias.known && m.Matches(e.Client, e.alias.server)
}

// NAT says in which families a namespace translates destinations, and what that means
// for a run.
type NAT struct {
	IPv4, IPv6 bool // it has rules that may translate

	// Unnamed is why our answers to a SYN, and everything that is sent while the
	// client's address is translated as well, do not arrive: the kernel cannot be asked
	// by which address the client knows its server. It is nil if the kernel can be
	// asked.
	Unnamed error
}

// FindNAT finds out how the namespace (nil means the caller's own) translates. It sees
// rules of nftables and of iptables, but neither IPVS nor what eBPF programs or Open
// vSwitch do. A run looks once, when it begins. FindNAT leaves nothing behind.
func FindNAT(ns *os.File) (NAT, error) {
	has, err := nft.NAT(ns)
	n := NAT{IPv4: has[ruleset.IPv4], IPv6: has[ruleset.IPv6]}
	if err == nil && (n.IPv4 || n.IPv6) {
		n.Unnamed = nft.ProbeNames(ns, has)
	}
	return n, err
}

// findNAT notes how the namespace translates. It touches nothing.
func (at *place) findNAT(ns *os.File) (err error) {
	if at.nat, err = nft.NAT(ns); err != nil || !at.translates() {
		return err
	}
	at.local, err = localAddrs(ns)
	return err
}

// warnOfNAT says at a run's end if the namespace translates where it did not when the run
// began. Its own tables are gone by then.
func (i *Injector) warnOfNAT(k *kernelSide) {
	has, err := nft.NAT(i.cfg.NetNS)
	if err != nil {
		return
	}
	for _, f := range []ruleset.Family{ruleset.IPv4, ruleset.IPv6} {
		if has[f] && !k.hadNAT[f] {
			i.cfg.Logger.Warn("rules for NAT came while the run went on: on connections that they translated, answers to a SYN did not arrive, and those of "+
				"clients on this host were judged in one direction only; a run that begins now does better", "family", f.String())
		}
	}
}

func (at *place) translates() bool { return at.nat != [2]bool{} }

// localAddrs returns the addresses of the namespace.
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
