package lab

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// acquaint tells two ends of a wire each other's link-layer addresses, for good.
// All namespaces of a machine share one table of neighbours, a thousand by
// default (gc_thresh3): with many labs at once, and more that are being taken
// down, it is full, and an end that asks for its neighbour asks in vain. Entries
// that are permanent do not count (neigh_alloc).
func acquaint(a, b wireEnd) error {
	for _, e := range [][2]wireEnd{{a, b}, {b, a}} {
		at, peer := e[0], e[1]
		link, err := at.node.net.LinkByName(at.link)
		if err != nil {
			return err
		}
		other, err := peer.node.net.LinkByName(peer.link)
		if err != nil {
			return err
		}
		for _, addr := range peer.addrs {
			n := &netlink.Neigh{
				LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT,
				IP: addr.AsSlice(), HardwareAddr: other.Attrs().HardwareAddr,
			}
			if err := at.node.net.NeighSet(n); err != nil {
				return fmt.Errorf("make %s known to %s: %w", addr, at.node.Name, err)
			}
		}
	}
	return nil
}

// wireEnd is an interface of a host at one end of a wire, and its addresses.
type wireEnd struct {
	node  *Node
	link  string
	addrs []netip.Addr
}

func addrs(v4, v6 string, both bool) []netip.Addr {
	as := []netip.Addr{netip.MustParseAddr(v4)}
	if both {
		as = append(as, netip.MustParseAddr(v6))
	}
	return as
}
