// Package sockdiag asks the kernel for a TCP socket of this host by the addresses and
// ports of its connection (inet_diag, sock_diag(7)). An answer takes some microseconds,
// and needs no privilege.
package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// State is the state of a TCP socket (include/net/tcp_states.h). The zero value is none
// of them.
type State uint8

// The states.
const (
	Established State = iota + 1
	SynSent
	SynRecv
	FinWait1
	FinWait2
	TimeWait
	Close
	CloseWait
	LastAck
	Listen
	Closing
	NewSynRecv
)

func (s State) String() string {
	return [...]string{
		"none", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE",
		"CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV",
	}[min(s, NewSynRecv)]
}

// Socket is what the kernel tells about a socket.
type Socket struct {
	State  State
	Cookie uint64 // names the socket for as long as the host runs; tracepoints call it sock_cookie
	Inode  uint32 // of its descriptor; 0: it is orphaned or in TIME_WAIT
	UID    uint32
	Unread uint32 // bytes received that no call has read
	Unsent uint32 // bytes written that have not been acknowledged
	MD5    bool   // its segments are signed (RFC 2385); told only with CAP_NET_ADMIN
}

// Orphaned reports whether no process has the socket any more: the application has
// closed it, and will not be told of anything. One that waits to be accepted belongs to
// no process yet, but is open: close() would have sent a FIN.
func (s Socket) Orphaned() bool {
	switch s.State {
	case SynRecv, NewSynRecv, Established, CloseWait:
		return false
	}
	return s.Inode == 0
}

// ErrNone says that there is no socket for the connection: there never was one, or it
// is closed.
var ErrNone = errors.New("no socket for the connection")

// Conn asks in one network namespace. It is safe for concurrent use.
type Conn struct {
	mu  sync.Mutex
	fd  int
	seq uint32
	req [nlHeader + reqSize]byte
	buf [4096]byte
}

const (
	nlHeader = unix.SizeofNlMsghdr
	reqSize  = 56 // struct inet_diag_req_v2
	msgSize  = 72 // struct inet_diag_msg

	sockDiagByFamily = 20     // SOCK_DIAG_BY_FAMILY
	attrMD5          = 18     // INET_DIAG_MD5SIG
	extInfo          = 1 << 1 // without it the kernel does not tell of keys (inet_sk_diag_fill)
)

// Open opens a connection to the kernel in the namespace; nil means the caller's own.
func Open(netns *os.File) (*Conn, error) {
	c := &Conn{}
	err := within(netns, func() (err error) {
		c.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open sock_diag: %w", err)
	}
	return c, nil
}

// Close closes the connection.
func (c *Conn) Close() error { return unix.Close(c.fd) }

// Ask returns the socket of the connection from local to remote, as the socket knows
// them: if the host translates the connection, these are the addresses that the
// application uses. The error is ErrNone if there is none; a listener does not count.
func (c *Conn) Ask(local, remote netip.AddrPort) (Socket, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq++
	c.request(local, remote)
	if _, err := unix.Write(c.fd, c.req[:]); err != nil {
		return Socket{}, fmt.Errorf("ask sock_diag: %w", err)
	}
	for {
		n, err := unix.Read(c.fd, c.buf[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return Socket{}, fmt.Errorf("ask sock_diag: %w", err)
		}
		if s, err, ours := c.answer(c.buf[:n]); ours {
			return s, err
		}
	}
}

func (c *Conn) request(local, remote netip.AddrPort) {
	b := c.req[:]
	clear(b)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], sockDiagByFamily)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST)
	binary.NativeEndian.PutUint32(b[8:], c.seq)
	r := b[nlHeader:]
	l, p := local.Addr().Unmap(), remote.Addr().Unmap()
	r[0], r[1], r[2] = unix.AF_INET, unix.IPPROTO_TCP, extInfo
	if l.Is6() {
		r[0] = unix.AF_INET6
	}
	binary.NativeEndian.PutUint32(r[4:], ^uint32(0)) // any state
	id := r[8:]
	binary.BigEndian.PutUint16(id, local.Port())
	binary.BigEndian.PutUint16(id[2:], remote.Port())
	if l.Is6() {
		a, z := l.As16(), p.As16()
		copy(id[4:], a[:])
		copy(id[20:], z[:])
	} else {
		a, z := l.As4(), p.As4()
		copy(id[4:], a[:])
		copy(id[20:], z[:])
	}
	binary.NativeEndian.PutUint64(id[40:], ^uint64(0)) // INET_DIAG_NOCOOKIE, twice
}

// Dump calls f for each TCP socket of the namespace that is neither listening nor in
// TIME_WAIT, with its ends as the socket knows them. Of a socket that is asked for with
// CAP_NET_ADMIN missing the kernel tells the same, but for its keys.
func (c *Conn) Dump(f func(local, remote netip.AddrPort, s Socket)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		if err := c.dump(family, f); err != nil {
			return err
		}
	}
	return nil
}

func (c *Conn) dump(family byte, f func(local, remote netip.AddrPort, s Socket)) error {
	c.seq++
	b := c.req[:]
	clear(b)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], sockDiagByFamily)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	binary.NativeEndian.PutUint32(b[8:], c.seq)
	r := b[nlHeader:]
	r[0], r[1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(r[4:], 1<<Established|1<<SynSent|1<<SynRecv|1<<FinWait1|1<<FinWait2|1<<CloseWait|1<<LastAck|1<<Closing)
	if _, err := unix.Write(c.fd, b); err != nil {
		return fmt.Errorf("ask sock_diag: %w", err)
	}
	buf := make([]byte, 1<<16)
	for {
		n, err := unix.Read(c.fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("ask sock_diag: %w", err)
		}
		for m := buf[:n]; len(m) >= nlHeader; {
			size := int(binary.NativeEndian.Uint32(m))
			if size < nlHeader || size > len(m) {
				break
			}
			one := m[:size]
			m = m[min((size+3)&^3, len(m)):]
			if binary.NativeEndian.Uint32(one[8:]) != c.seq {
				continue // of a question before
			}
			switch kind := binary.NativeEndian.Uint16(one[4:]); {
			case kind == unix.NLMSG_DONE:
				return nil
			case kind == unix.NLMSG_ERROR && size >= nlHeader+4:
				return fmt.Errorf("ask sock_diag: %w", unix.Errno(-int32(binary.NativeEndian.Uint32(one[nlHeader:]))))
			case kind == sockDiagByFamily && size >= nlHeader+msgSize:
				id := one[nlHeader+4:]
				f(endOf(id, id[4:], family), endOf(id[2:], id[20:], family), Socket{
					State: State(one[nlHeader+1]), Cookie: binary.NativeEndian.Uint64(one[nlHeader+44:]),
					UID: binary.NativeEndian.Uint32(one[nlHeader+64:]), Inode: binary.NativeEndian.Uint32(one[nlHeader+68:]),
				})
			}
		}
	}
}

// endOf reads one end of a struct inet_diag_sockid.
func endOf(port, addr []byte, family byte) netip.AddrPort {
	a := netip.AddrFrom4([4]byte(addr))
	if family == unix.AF_INET6 {
		a = netip.AddrFrom16([16]byte(addr)).Unmap()
	}
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(port))
}

// answer reads what the kernel sent. It returns false for the answer to an earlier
// question.
func (c *Conn) answer(b []byte) (s Socket, err error, ours bool) {
	if len(b) < nlHeader || binary.NativeEndian.Uint32(b[8:]) != c.seq {
		return Socket{}, nil, false
	}
	if binary.NativeEndian.Uint16(b[4:]) == unix.NLMSG_ERROR && len(b) >= nlHeader+4 {
		errno := unix.Errno(-int32(binary.NativeEndian.Uint32(b[nlHeader:])))
		if errno == unix.ENOENT {
			return Socket{}, ErrNone, true
		}
		return Socket{}, fmt.Errorf("ask sock_diag: %w", errno), true
	}
	m := b[nlHeader:]
	if len(m) < msgSize {
		return Socket{}, errors.New("ask sock_diag: the answer is too short"), true
	}
	s = Socket{
		State:  State(m[1]),
		Cookie: binary.NativeEndian.Uint64(m[44:]), // two words, the lower first
		Unread: binary.NativeEndian.Uint32(m[56:]),
		Unsent: binary.NativeEndian.Uint32(m[60:]),
		UID:    binary.NativeEndian.Uint32(m[64:]),
		Inode:  binary.NativeEndian.Uint32(m[68:]),
	}
	if s.State == Listen {
		return Socket{}, ErrNone, true // the kernel finds it if there is no other
	}
	for a := m[msgSize:]; len(a) >= unix.SizeofRtAttr; {
		size := int(binary.NativeEndian.Uint16(a))
		if size < unix.SizeofRtAttr || size > len(a) {
			break
		}
		if binary.NativeEndian.Uint16(a[2:])&^unix.NLA_F_NESTED == attrMD5 {
			s.MD5 = true
		}
		a = a[min((size+3)&^3, len(a)):]
	}
	return s, nil, true
}

// within runs f in a network namespace; nil means the caller's own.
func within(netns *os.File, f func() error) error {
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
