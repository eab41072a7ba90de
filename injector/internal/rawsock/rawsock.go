// Package rawsock sends whole packets through raw sockets.
package rawsock

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"github.com/faultctl/faultctl/injector/internal/kerror"
	"github.com/faultctl/faultctl/internal/netns"
	"golang.org/x/sys/unix"
)

// Sender sends through one raw socket per family. The kernel keeps all header fields
// except the IPv4 header checksum, and an identification of 0 without DF (raw(7),
// raw_send_hdrinc). A packet for a socket of this host reaches it by loopback.
type Sender struct {
	fd4, fd6     int
	mark4, mark6 uint32

	// One of each for each packet of a system call.
	msgs [BatchSize]mmsghdr
	iovs [BatchSize]unix.Iovec
	to4  [BatchSize]unix.RawSockaddrInet4
	to6  [BatchSize]unix.RawSockaddrInet6
}

// sendWait is how long packets wait for room in a socket's send buffer before they are
// given up. The buffer is larger than the queue of a common device, and the worker has
// other things to do.
const sendWait = 10 * time.Millisecond

const sendBuffer = 4 << 20

// BatchSize is the most packets that one system call sends.
const BatchSize = 64

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
	_   [4]byte
}

// Packet is a packet for a Sender.
type Packet struct {
	Bytes []byte
	Mark  uint32 // the routing mark of its flow
	Iface uint32 // the scope of a link-local destination

	// Err is why Send could not send it, nil if it could. It is a unix.Errno if the
	// kernel refused: EPERM is a firewall on the way out, ENETUNREACH or
	// EHOSTUNREACH that there is no route, EADDRNOTAVAIL or EINVAL no address, EMSGSIZE
	// that it is longer than the MTU, ENOBUFS that a queue is full.
	Err error
}

// Open opens the sockets in the namespace, nil being the caller's own.
// priority is what its packets carry as SO_PRIORITY.
func Open(ns *os.File, priority uint32) (*Sender, error) {
	s := &Sender{fd4: -1, fd6: -1}
	err := netns.Do(ns, func() (err error) {
		if s.fd4, err = rawSocket(unix.AF_INET, priority); err != nil {
			return err
		}
		// A host without IPv6 has no IPv6 packets to forge.
		if s.fd6, err = rawSocket(unix.AF_INET6, priority); errors.Is(err, unix.EAFNOSUPPORT) {
			err = nil
		}
		return err
	})
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("open raw socket: %w", kerror.Explain(err))
	}
	return s, nil
}

func rawSocket(family int, priority uint32) (int, error) {
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
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, int(priority)); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// Send sends whole packets, in order, with as few system calls as it can. It skips
// those that cannot be sent, sets the reason in Packet.Err of each, and returns how
// many these are. One goroutine uses a Sender.
func (s *Sender) Send(pkts []Packet) (unsent int) {
	for len(pkts) > 0 {
		n := alike(pkts)
		unsent += s.sendAlike(pkts[:n])
		pkts = pkts[n:]
	}
	return unsent
}

// refuse sets the error of all pkts.
func refuse(pkts []Packet, err error) (unsent int) {
	for i := range pkts {
		pkts[i].Err = err
	}
	return len(pkts)
}

// alike returns how many packets at the beginning one system call can send: those of
// one family with the same mark, which belongs to the socket.
func alike(pkts []Packet) int {
	n := 1
	for n < min(len(pkts), BatchSize) && pkts[n].Mark == pkts[0].Mark && version(pkts[n].Bytes) == version(pkts[0].Bytes) {
		n++
	}
	return n
}

// version returns the version of IP, or 0.
func version(pkt []byte) byte {
	if len(pkt) < 20 {
		return 0
	}
	return pkt[0] >> 4
}

// errNoPacket says that a packet has no IP header.
var errNoPacket = errors.New("send: not an IP packet")

// sendAlike sends packets that alike has found.
func (s *Sender) sendAlike(pkts []Packet) (unsent int) {
	fd, have := s.fd6, &s.mark6
	switch v := version(pkts[0].Bytes); {
	case v == 4:
		fd, have = s.fd4, &s.mark4
	case v != 6 || len(pkts[0].Bytes) < 40:
		return refuse(pkts, errNoPacket)
	}
	if err := setMark(fd, have, pkts[0].Mark); err != nil {
		return refuse(pkts, err)
	}
	for i := range pkts {
		pkts[i].Err = nil
		s.address(i, &pkts[i])
	}
	for at, waited := 0, false; at < len(pkts); {
		// The call does not block, so Go's scheduler need not know of it.
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&s.msgs[at])), uintptr(len(pkts)-at), 0, 0, 0)
		switch {
		case errno == 0:
			at += int(n)
		case errno == unix.EINTR:
		case errno == unix.EAGAIN && !waited:
			waited = true
			writable(fd, sendWait)
		default: // the error is about the first packet alone
			pkts[at].Err = errno
			unsent++
			at++
		}
	}
	return unsent
}

// address makes p the packet at that position of the next system call.
func (s *Sender) address(i int, p *Packet) {
	s.iovs[i].Base = unsafe.SliceData(p.Bytes)
	s.iovs[i].SetLen(len(p.Bytes))
	hdr := &s.msgs[i].hdr
	hdr.Iov = &s.iovs[i]
	hdr.SetIovlen(1)
	if version(p.Bytes) == 4 {
		s.to4[i] = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: [4]byte(p.Bytes[16:20])}
		hdr.Name, hdr.Namelen = (*byte)(unsafe.Pointer(&s.to4[i])), unix.SizeofSockaddrInet4
		return
	}
	to := &s.to6[i]
	*to = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: [16]byte(p.Bytes[24:40])}
	if netip.AddrFrom16(to.Addr).IsLinkLocalUnicast() {
		to.Scope_id = p.Iface
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

// Close closes the sockets.
func (s *Sender) Close() error {
	for _, fd := range []int{s.fd4, s.fd6} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	return nil
}
