package injector

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"github.com/faultctl/faultctl/internal/netns"
	"golang.org/x/sys/unix"
)

// rawSender sends through one raw socket a family. The kernel keeps every
// header field that it is given but the IPv4 header checksum, and an
// identification of 0 without DF (raw(7), raw_send_hdrinc). A packet for a
// socket of this host reaches it by way of loopback.
type rawSender struct {
	fd4, fd6     int
	mark4, mark6 uint32

	// One of each for a packet of one system call.
	msgs [batchSize]mmsghdr
	iovs [batchSize]unix.Iovec
	to4  [batchSize]unix.RawSockaddrInet4
	to6  [batchSize]unix.RawSockaddrInet6
}

// sendWait is how long packets wait for room in a socket's send buffer before
// they are given up. The buffer is larger than the queue of a common device, and
// the worker has other things to do.
const sendWait = 10 * time.Millisecond

const sendBuffer = 4 << 20

// openSender opens the sockets in the namespace, nil being the caller's own.
func openSender(ns *os.File) (*rawSender, error) {
	s := &rawSender{fd4: -1, fd6: -1}
	err := netns.Do(ns, func() (err error) {
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
	// may leave in one go. Only root of the host may ask for more than
	// net.core.wmem_max, some two hundred packets by default.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer) != nil {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, int(OwnSign)); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (s *rawSender) send(pkts []packetOut) (unsent int, err error) {
	for len(pkts) > 0 {
		n := alike(pkts)
		left, e := s.sendAlike(pkts[:n])
		if unsent += left; err == nil {
			err = e
		}
		pkts = pkts[n:]
	}
	return unsent, err
}

// alike returns how many packets at the beginning leave by one system call: those
// of one family with one mark, which are the socket's.
func alike(pkts []packetOut) int {
	n := 1
	for n < min(len(pkts), batchSize) && pkts[n].mark == pkts[0].mark && version(pkts[n].bytes) == version(pkts[0].bytes) {
		n++
	}
	return n
}

// version is that of IP, or 0.
func version(pkt []byte) byte {
	if len(pkt) < 20 {
		return 0
	}
	return pkt[0] >> 4
}

// sendAlike sends packets that alike has found.
func (s *rawSender) sendAlike(pkts []packetOut) (unsent int, err error) {
	fd, have := s.fd6, &s.mark6
	switch v := version(pkts[0].bytes); {
	case v == 4:
		fd, have = s.fd4, &s.mark4
	case v != 6 || len(pkts[0].bytes) < 40:
		return len(pkts), fmt.Errorf("send: %d bytes are no packet", len(pkts[0].bytes))
	}
	if err := setMark(fd, have, pkts[0].mark); err != nil {
		return len(pkts), err
	}
	for i := range pkts {
		s.address(i, &pkts[i])
	}
	for at, waited := 0, false; at < len(pkts); {
		// A sender does not wait, so neither need Go's scheduler know.
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&s.msgs[at])), uintptr(len(pkts)-at), 0, 0, 0)
		switch {
		case errno == 0:
			at += int(n)
		case errno == unix.EINTR:
		case errno == unix.EAGAIN && !waited:
			waited = true
			writable(fd, sendWait)
		default: // of the first, and of that alone
			if err == nil {
				err = errno
			}
			unsent++
			at++
		}
	}
	return unsent, err
}

// address makes p the packet of that place in the next system call.
func (s *rawSender) address(i int, p *packetOut) {
	s.iovs[i].Base = unsafe.SliceData(p.bytes)
	s.iovs[i].SetLen(len(p.bytes))
	hdr := &s.msgs[i].hdr
	hdr.Iov = &s.iovs[i]
	hdr.SetIovlen(1)
	if version(p.bytes) == 4 {
		s.to4[i] = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: [4]byte(p.bytes[16:20])}
		hdr.Name, hdr.Namelen = (*byte)(unsafe.Pointer(&s.to4[i])), unix.SizeofSockaddrInet4
		return
	}
	to := &s.to6[i]
	*to = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: [16]byte(p.bytes[24:40])}
	if netip.AddrFrom16(to.Addr).IsLinkLocalUnicast() {
		to.Scope_id = p.iface
	}
	hdr.Name, hdr.Namelen = (*byte)(unsafe.Pointer(to)), unix.SizeofSockaddrInet6
}

// writable waits until the socket has room.
func writable(fd int, wait time.Duration) {
	ts := unix.NsecToTimespec(int64(wait))
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	unix.Ppoll(fds[:], &ts, nil)
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
