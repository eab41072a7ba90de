package lab

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// App is a program on a host, reduced to its socket: the system calls it makes and
// what they return.
type App struct {
	node *Node
	name string
	fd   int

	poured, drained int // bytes, by Pour and Drain

	mu    sync.Mutex
	calls []Call
}

// Call is one system call of an App.
type Call struct {
	App    string
	Text   string // such as send("hello")
	Result string // such as 5, EOF or ECONNRESET; what was received, for recv()
	Err    error  // nil if it succeeded, EOF included
	Start  time.Time
	Took   time.Duration
}

func (c Call) String() string { return c.Text + " = " + c.Result }

// patience is how long a call may block. A test that waits this long has failed;
// nothing else depends on the value.
const patience = 30 * time.Second

// Listen starts a program that listens, and returns its address. Port 0 means any
// free port.
func (n *Node) Listen(at netip.AddrPort, backlog int) (*App, netip.AddrPort, error) {
	a, err := n.socket("listener", at.Addr())
	if err != nil {
		return nil, at, err
	}
	if err := errors.Join(
		unix.SetsockoptInt(a.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.Bind(a.fd, sockaddr(at)), unix.Listen(a.fd, backlog),
	); err != nil {
		a.Close()
		return nil, at, fmt.Errorf("listen on %s: %w", at, err)
	}
	sa, err := unix.Getsockname(a.fd)
	return a, addrPort(sa), err
}

// Accept waits for a connection and returns the program that serves it, at most
// 30 s.
func (a *App) Accept() (*App, error) {
	fd, _, err := unix.Accept4(a.fd, unix.SOCK_CLOEXEC)
	for err == unix.EINTR {
		fd, _, err = unix.Accept4(a.fd, unix.SOCK_CLOEXEC)
	}
	if err != nil {
		return nil, fmt.Errorf("accept: %s", Errno(err))
	}
	return &App{node: a.node, name: "server", fd: moveUp(fd)}, nil
}

// Client creates a program with an unconnected socket of the address's family.
func (n *Node) Client(to netip.Addr) (*App, error) { return n.socket("client", to) }

func (n *Node) socket(name string, family netip.Addr) (*App, error) {
	a := &App{node: n, name: name}
	af := unix.AF_INET
	if family.Is6() {
		af = unix.AF_INET6
	}
	err := n.Do(func() (err error) {
		a.fd, err = unix.Socket(af, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	a.fd = moveUp(a.fd)
	tv := unix.NsecToTimeval(int64(patience))
	return a, errors.Join(
		unix.SetsockoptTimeval(a.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv),
		unix.SetsockoptTimeval(a.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv),
		unix.SetsockoptInt(a.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
	)
}

// Nonblock makes calls return at once: connect() = EINPROGRESS.
func (a *App) Nonblock() error { return unix.SetNonblock(a.fd, true) }

// Timeout changes how long a call may block: 30 s by default.
func (a *App) Timeout(d time.Duration) {
	tv := unix.NsecToTimeval(int64(d))
	unix.SetsockoptTimeval(a.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	unix.SetsockoptTimeval(a.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv)
}

// Connect connects and returns "ok" or the errno.
func (a *App) Connect(to netip.AddrPort) string {
	return a.call("connect()", func() (string, error) {
		err := unix.Connect(a.fd, sockaddr(to))
		if err == unix.EINTR { // it goes on; a second call would say EALREADY
			err = a.connected()
		}
		return "ok", err
	})
}

// connected waits for the end of a connect that a signal has interrupted, as long as a
// call may block.
func (a *App) connected() error {
	tv, err := unix.GetsockoptTimeval(a.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO)
	if err != nil {
		return err
	}
	for end := time.Now().Add(time.Duration(tv.Nano())); ; {
		left := time.Until(end)
		if left <= 0 {
			return unix.EINPROGRESS
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(a.fd), Events: unix.POLLOUT}}, int(left.Milliseconds())+1)
		switch {
		case err != nil && err != unix.EINTR:
			return err
		case n > 0:
			if errno, err := unix.GetsockoptInt(a.fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || errno != 0 {
				return cmp.Or(err, error(unix.Errno(errno)))
			}
			return nil
		}
	}
}

// Send sends text and returns how many bytes the kernel took, or the errno.
func (a *App) Send(text string) string {
	what := fmt.Sprintf("send(%q)", text)
	if len(text) > 20 {
		what = fmt.Sprintf("send(%d bytes)", len(text))
	}
	return a.call(what, func() (string, error) {
		n, err := unix.SendmsgN(a.fd, []byte(text), nil, nil, unix.MSG_NOSIGNAL)
		return fmt.Sprint(n), err
	})
}

// Recv receives and returns what arrived, "EOF", or the errno.
func (a *App) Recv() string {
	return a.call("recv()", func() (string, error) {
		buf := make([]byte, 1<<16)
		n, err := unix.Read(a.fd, buf)
		if n == 0 && err == nil {
			return "EOF", nil
		}
		return string(buf[:max(0, n)]), err
	})
}

// CloseWrite sends a FIN.
func (a *App) CloseWrite() string {
	return a.call("shutdown(SHUT_WR)", func() (string, error) { return "ok", unix.Shutdown(a.fd, unix.SHUT_WR) })
}

// Shutdown ends both directions, and so every call that blocks.
func (a *App) Shutdown() error { return unix.Shutdown(a.fd, unix.SHUT_RDWR) }

// Linger makes Close send a RST: SO_LINGER on, with a timeout of zero.
func (a *App) Linger() error {
	return unix.SetsockoptLinger(a.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}

// SetInt sets a socket option.
func (a *App) SetInt(level, option, value int) error {
	return unix.SetsockoptInt(a.fd, level, option, value)
}

// Close closes the socket. It may be called twice.
func (a *App) Close() {
	if a.fd >= 0 {
		unix.Close(a.fd)
		a.fd = -1
	}
}

// File returns a duplicate of the socket's descriptor, for another process.
func (a *App) File() (*os.File, error) {
	fd, err := unix.FcntlInt(uintptr(a.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate the socket: %w", err)
	}
	return os.NewFile(uintptr(fd), a.name), nil
}

func (a *App) call(text string, f func() (string, error)) string {
	c := Call{App: a.name, Text: text, Start: time.Now()}
	result, err := f()
	for err == unix.EINTR {
		result, err = f()
	}
	if err != nil {
		result = Errno(err)
	}
	c.Result, c.Err, c.Took = result, err, time.Since(c.Start)
	a.mu.Lock()
	if len(a.calls) == 2*maxCalls {
		a.calls = append(a.calls[:0], a.calls[maxCalls:]...)
	}
	a.calls = append(a.calls, c)
	a.mu.Unlock()
	return result
}

// maxCalls bounds how many calls an App remembers. Without a bound, an App that
// exchanges data for minutes would stall for seconds each time its list of
// millions of calls grows.
const maxCalls = 1 << 12

// Calls returns the calls made so far; if there were thousands, only the last ones.
func (a *App) Calls() []Call {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]Call(nil), a.calls...)
}

// Local returns the address of the socket.
func (a *App) Local() netip.AddrPort {
	sa, err := unix.Getsockname(a.fd)
	if err != nil {
		return netip.AddrPort{}
	}
	return addrPort(sa)
}

// Peer returns the address of the other end.
func (a *App) Peer() netip.AddrPort {
	sa, err := unix.Getpeername(a.fd)
	if err != nil {
		return netip.AddrPort{}
	}
	return addrPort(sa)
}

// Info is what the kernel knows about the connection (tcp_info). For a listener,
// Unacked is the length of its accept queue.
type Info struct {
	State        uint8
	Retransmits  uint8 // of the segment in flight
	Probes       uint8 // zero-window or keepalive probes that are unanswered
	Backoff      uint8
	Unacked      uint32
	Lost         uint32
	Cwnd         uint32
	TotalRetrans uint32
	Duplicates   uint32 // of what it sent, as the peer reports (D-SACK, RFC 2883): the retransmission was unnecessary
	Notsent      uint32
	Received     uint64 // bytes of the stream
	SegsIn       uint32
	DataIn       uint32 // segments with payload
	DataOut      uint32
}

// Info returns the socket's tcp_info.
func (a *App) Info() (Info, error) {
	b, err := unix.GetsockoptTCPInfo(a.fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return Info{}, fmt.Errorf("tcp_info: %w", err)
	}
	return Info{
		State: b.State, Retransmits: b.Retransmits, Probes: b.Probes, Backoff: b.Backoff,
		Unacked: b.Unacked, Lost: b.Lost, Cwnd: b.Snd_cwnd, TotalRetrans: b.Total_retrans, Duplicates: b.Dsack_dups, Notsent: b.Notsent_bytes,
		Received: b.Bytes_received, SegsIn: b.Segs_in,
		DataIn: b.Data_segs_in, DataOut: b.Data_segs_out,
	}, nil
}

// StartAt sets the initial sequence number. It is called before Connect:
// TCP_REPAIR can set the sequence number of the send queue of a closed socket. It
// needs CAP_NET_ADMIN.
func (a *App) StartAt(seq uint32) error {
	const sendQueue = 2 // TCP_SEND_QUEUE
	return errors.Join(
		a.SetInt(unix.IPPROTO_TCP, unix.TCP_REPAIR, 1),
		a.SetInt(unix.IPPROTO_TCP, unix.TCP_REPAIR_QUEUE, sendQueue),
		a.SetInt(unix.IPPROTO_TCP, unix.TCP_QUEUE_SEQ, int(int32(seq))),
		a.SetInt(unix.IPPROTO_TCP, unix.TCP_REPAIR, 0),
	)
}

// moveUp moves a descriptor to 1024 or above, because the netlink libraries use
// select(2) and need descriptors below that. If the limit of open files is too
// low, the descriptor stays where it is.
func moveUp(fd int) int {
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 1024)
	if err != nil {
		return fd
	}
	unix.Close(fd)
	return high
}

// Errno returns the name of an error as in errno.h, such as ECONNRESET.
func Errno(err error) string {
	var e unix.Errno
	if errors.As(err, &e) {
		return unix.ErrnoName(e)
	}
	return err.Error()
}

func sockaddr(ap netip.AddrPort) unix.Sockaddr {
	if ap.Addr().Is6() {
		return &unix.SockaddrInet6{Addr: ap.Addr().As16(), Port: int(ap.Port())}
	}
	return &unix.SockaddrInet4{Addr: ap.Addr().As4(), Port: int(ap.Port())}
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

func htons(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}
