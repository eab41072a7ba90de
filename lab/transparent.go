package lab

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// ListenAs starts a program that listens on the address of another host, as a
// transparent proxy does (IP_TRANSPARENT). The host must route packets to that
// address to itself.
func (n *Node) ListenAs(at netip.AddrPort, backlog int) (*App, error) {
	a, err := n.transparent("proxy", at)
	if err != nil {
		return nil, err
	}
	if err := unix.Listen(a.fd, backlog); err != nil {
		a.Close()
		return nil, fmt.Errorf("listen on %s: %w", at, err)
	}
	return a, nil
}

// ClientAs creates a program with an unconnected socket that is bound to the
// address of another host.
func (n *Node) ClientAs(from netip.AddrPort) (*App, error) { return n.transparent("proxy", from) }

func (n *Node) transparent(name string, at netip.AddrPort) (*App, error) {
	a, err := n.socket(name, at.Addr())
	if err != nil {
		return nil, err
	}
	level, option := unix.SOL_IP, unix.IP_TRANSPARENT
	if at.Addr().Is6() {
		level, option = unix.SOL_IPV6, unix.IPV6_TRANSPARENT
	}
	if err := errors.Join(a.SetInt(level, option, 1), unix.Bind(a.fd, sockaddr(at))); err != nil {
		a.Close()
		return nil, fmt.Errorf("bind to the address %s of another host: %w", at, err)
	}
	return a, nil
}
