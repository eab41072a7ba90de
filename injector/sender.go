package injector

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// rawSender sends through one raw socket a family. The kernel keeps every
// header field that it is given but the IPv4 header checksum, and an
// identification of 0 without DF (raw(7), raw_send_hdrinc). A packet for a
// socket of this host reaches it by way of loopback.
type rawSender struct {
	fd4, fd6     int
	mark4, mark6 uint32
}

// openSender opens the sockets in the namespace, nil being the caller's own.
func openSender(netns *os.File) (*rawSender, error) {
	s := &rawSender{fd4: -1, fd6: -1}
	err := inNamespace(netns, func() (err error) {
		if s.fd4, err = rawSocket(unix.AF_INET); err != nil {
			return err
		}
		// A host without IPv6 has no IPv6 packets to forge.
		if s.fd6, err = rawSocket(unix.AF_INET6); errors.Is(err, unix.EAFNOSUPPORT) {
			err = nil
		}
		return err
	})
	if err != nil {
		s.close()
		return nil, fmt.Errorf("open raw socket: %w", explain(err))
	}
	return s, nil
}

func rawSocket(family int) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW)
	if err != nil {
		return -1, err
	}
	// A raw socket of this protocol sends only, but a large queue of packets
	// may leave in one go.
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 4<<20)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, int(OwnSign)); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (s *rawSender) send(pkt []byte, mark, iface uint32) error {
	if len(pkt) < 20 {
		return fmt.Errorf("send: %d bytes are no packet", len(pkt))
	}
	if pkt[0]>>4 == 4 {
		if err := setMark(s.fd4, &s.mark4, mark); err != nil {
			return err
		}
		return unix.Sendto(s.fd4, pkt, 0, &unix.SockaddrInet4{Addr: [4]byte(pkt[16:20])})
	}
	if err := setMark(s.fd6, &s.mark6, mark); err != nil {
		return err
	}
	to := unix.SockaddrInet6{Addr: [16]byte(pkt[24:40])}
	if netip.AddrFrom16(to.Addr).IsLinkLocalUnicast() {
		to.ZoneId = iface
	}
	return unix.Sendto(s.fd6, pkt, 0, &to)
}

// setMark gives the socket the routing mark of the flow, so that what it sends
// takes the flow's own route.
func setMark(fd int, have *uint32, want uint32) error {
	if *have == want {
		return nil
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(want)); err != nil {
		return fmt.Errorf("set SO_MARK: %w", err)
	}
	*have = want
	return nil
}

func (s *rawSender) close() error {
	for _, fd := range []int{s.fd4, s.fd6} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	return nil
}

// inNamespace runs f in a network namespace, nil being the caller's own. The
// thread it runs on is thrown away: it may be left in the wrong place.
func inNamespace(netns *os.File, f func() error) error {
	if netns == nil {
		return f()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Setns(int(netns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}
