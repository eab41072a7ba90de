package lab

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// addNeighbours gives the two ends of a link permanent neighbour entries for each
// other. All namespaces of a machine share one table of neighbours, with 1024
// entries by default (gc_thresh3). With many labs at once, and others being
// removed, it is full, and neighbour discovery fails. Permanent entries do not
// count against the limit (neigh_alloc).
func addNeighbours(a, b linkEnd) error {
	for _, e := range [][2]linkEnd{{a, b}, {b, a}} {
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
				return fmt.Errorf("add %s as a neighbour of %s: %w", addr, at.node.Name, err)
			}
		}
	}
	return nil
}

// linkEnd is an interface of a host at one end of a link, and its addresses.
type linkEnd struct {
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
