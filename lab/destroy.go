package lab

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	nl "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Destroy aborts the connection of a socket on this host, as ss -K does: the
// kernel sends a RST (SOCK_DESTROY). It needs CONFIG_INET_DIAG_DESTROY.
func (n *Node) Destroy(local, remote netip.AddrPort) error {
	const sockDestroy = 21 // linux/sock_diag.h
	conn, err := nl.Dial(unix.NETLINK_SOCK_DIAG, &nl.Config{NetNS: int(n.NS.Fd())})
	if err != nil {
		return fmt.Errorf("open sock_diag on %s: %w", n.Name, err)
	}
	defer conn.Close()
	req := make([]byte, 56) // struct inet_diag_req_v2
	req[0], req[1] = unix.AF_INET, unix.IPPROTO_TCP
	if local.Addr().Is6() {
		req[0] = unix.AF_INET6
	}
	binary.NativeEndian.PutUint32(req[4:], 0xffffffff) // any state
	binary.BigEndian.PutUint16(req[8:], local.Port())
	binary.BigEndian.PutUint16(req[10:], remote.Port())
	copy(req[12:28], local.Addr().AsSlice())
	copy(req[28:44], remote.Addr().AsSlice())
	binary.NativeEndian.PutUint64(req[48:], ^uint64(0)) // no cookie
	_, err = conn.Execute(nl.Message{
		Header: nl.Header{Type: sockDestroy, Flags: nl.Request | nl.Acknowledge}, Data: req,
	})
	if err != nil {
		return fmt.Errorf("destroy %s on %s: %w", local, n.Name, err)
	}
	return nil
}
