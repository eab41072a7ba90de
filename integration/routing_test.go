package integration

import (
	"net"
	"testing"

	"github.com/faultctl/faultctl/lab"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestPolicyRouting checks that on a host where a mark selects the route, packets
// under a fault take the route that they always had: only packets with the
// socket's own mark can leave.
func TestPolicyRouting(t *testing.T) {
	const mark, table = 0x2a, 77
	for name, mask := range map[string]*uint32{"without a mask": nil, "with a mask": new(uint32(0xff))} {
		t.Run(name, func(t *testing.T) {
			for _, spec := range []string{"delay:by=20ms", "reset:at=response,hit=client", "reset:at=response,shape=b", "half-open:at=response", "idle-expire:after=1h", "observe"} {
				t.Run(spec, func(t *testing.T) {
					everywhere(t, func(t *testing.T, w *testbed) {
						if w.at == loopback {
							return // it has no route to choose
						}
						for _, n := range []*lab.Node{w.Client, w.Server} {
							onlyMarked(t, n, mark, mask, table)
						}
						if err := w.ln.SetInt(unix.SOL_SOCKET, unix.SO_MARK, mark); err != nil {
							t.Fatal(err)
						}
						w.inject(spec)
						client := w.client()
						if err := client.SetInt(unix.SOL_SOCKET, unix.SO_MARK, mark); err != nil {
							t.Fatal(err)
						}
						says(t, "client", client.Connect(w.service))("ok")
						server, err := w.ln.Accept()
						if err != nil {
							t.Fatal(err)
						}
						t.Cleanup(server.Close)
						says(t, "request", client.Send("ping"), server.Recv(), server.Send("pong"))("4", "ping", "4")
						switch spec {
						case "delay:by=20ms", "idle-expire:after=1h", "observe":
							says(t, "answer", client.Recv())("pong")
							healthy(t, "routed", client, server)
						case "half-open:at=response":
							says(t, "client", client.Send("x"), client.Recv())("1", "ECONNRESET")
						default:
							says(t, "client", client.Recv())("ECONNRESET")
						}
					})
				})
			}
		})
	}
}

// onlyMarked moves a host's default routes to a table that is used only for
// packets with the mark.
func onlyMarked(t *testing.T, n *lab.Node, mark uint32, mask *uint32, table int) {
	t.Helper()
	nl := n.Netlink()
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := nl.RouteList(nil, family)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range routes {
			if ones, _ := size(r.Dst); ones != 0 || r.Gw == nil {
				continue
			}
			if err := nl.RouteDel(&r); err != nil {
				t.Fatal(err)
			}
			if err := nl.RouteAdd(&netlink.Route{LinkIndex: r.LinkIndex, Gw: r.Gw, Table: table}); err != nil {
				t.Fatal(err)
			}
		}
		rule := netlink.NewRule()
		rule.Family, rule.Table, rule.Mark, rule.Mask, rule.Priority = family, table, mark, mask, 100
		if err := nl.RuleAdd(rule); err != nil {
			t.Fatal(err)
		}
	}
}

// size returns the length of a prefix, or 0 for nil.
func size(n *net.IPNet) (ones, bits int) {
	if n == nil {
		return 0, 0
	}
	return n.Mask.Size()
}
