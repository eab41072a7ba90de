// Package nfqueue receives packets from netfilter queues and answers them. It knows
// that a verdict may change a packet's priority, but not what that means to the rules.
package nfqueue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
	"unsafe"

	nfq "github.com/florianl/go-nfqueue/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	BatchSize  = 64      // the most packets that Receive takes with one system call
	Length     = 1 << 16 // the most packets that a queue holds; the kernel lets further ones pass
	readBuffer = 32 << 20

	// briefly is more than a jiffy of any kernel, the shortest that a socket waits.
	briefly = 10 * time.Millisecond

	// verdictRoom is how many bytes of verdicts are collected. Together with one more
	// packet of 64 KiB they must fit into the socket's send buffer, or the kernel
	// refuses all of them and their packets stay in the queue (netlink_sendmsg,
	// EMSGSIZE). So a buffer of that size is requested, whatever the host's default is.
	verdictRoom = 1 << 16
	writeBuffer = 1 << 18

	// headersOnly is how much of a packet is copied if no fault needs its payload: IPv4
	// and TCP headers take at most 120 bytes, those of IPv6 100 bytes plus extension
	// headers.
	headersOnly = 256
	wholePacket = 0xffff

	// attrRoom is room for the other attributes of a message.
	attrRoom = 1 << 10
)

// MaxCopied is how many bytes of a packet a message can contain (NFQNL_MAX_COPY_RANGE):
// a packet of that length may be longer in fact.
const MaxCopied = wholePacket - nlaHeader

// Queue is a netfilter queue. go-nfqueue opens, binds and configures it. The loop on
// its socket is ours, because that of go-nfqueue makes two system calls and 64
// allocations per packet.
//
// The socket asks not to be told of a full buffer (NETLINK_NO_ENOBUFS): otherwise it
// would be marked as congested, and get nothing until it is empty. Packets that find no
// room pass, and the counters of the rules show how many.
//
// One goroutine uses a Queue, but any may call Wake.
type Queue struct {
	nf     *nfq.Nfqueue
	parked chan struct{} // closed to let go-nfqueue's receiver end
	fd     int
	number uint16
	gso    uint16 // number of the queue for what local senders send as they made it, on the same socket; 0: there is none
	buffer int    // bytes of SO_RCVBUF that the kernel granted

	msgs []mmsghdr
	iovs []unix.Iovec
	mem  []byte // one slot per message; only what is used becomes resident
	slot int

	busy  bool // the last receive brought packets
	more  bool // and as many as fit
	spare bool // Go has more processors than there are workers

	verdicts verdicts
	failed   error // of a flush that verdict made, for the next one to return
	pause    func(time.Duration)

	mu     sync.Mutex // a wake may come while the queue is being closed
	closed bool
}

// Number returns the queue's number.
func (q *Queue) Number() uint16 { return q.number }

// GSONumber returns the number of the queue for what local senders send as they made
// it, or 0 if there is none.
func (q *Queue) GSONumber() uint16 { return q.gso }

// Buffer returns how many bytes of packets the kernel keeps for the queue
// (SO_RCVBUF).
func (q *Queue) Buffer() int { return q.buffer }

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
	_   [4]byte
}

// start binds the queue and takes over its socket. go-nfqueue starts a receiver of its
// own. A deadline in the past sends that into its error function, where it stays until
// Close; it unbinds the queue when it returns.
func (q *Queue) start() error {
	if err := q.nf.Con.SetReadBuffer(readBuffer); err != nil {
		return fmt.Errorf("set read buffer: %w", err)
	}
	if err := q.nf.Con.SetWriteBuffer(writeBuffer); err != nil {
		return fmt.Errorf("set write buffer: %w", err)
	}
	if err := q.nf.SetOption(netlink.NoENOBUFS, true); err != nil {
		return fmt.Errorf("set NETLINK_NO_ENOBUFS: %w", err)
	}
	arrived := make(chan struct{}, 1)
	err := q.nf.RegisterWithErrorFunc(context.Background(),
		func(nfq.Attribute) int { return 0 }, // no rule queues yet: nothing arrives
		func(error) int {
			arrived <- struct{}{}
			<-q.parked
			return 1
		})
	if err != nil {
		return err
	}
	if err := q.nf.Con.SetReadDeadline(time.Unix(1, 0)); err != nil {
		return err
	}
	<-arrived
	rc, err := q.nf.Con.SyscallConn()
	if err != nil {
		return err
	}
	if err := rc.Control(func(fd uintptr) { q.fd = int(fd) }); err != nil {
		return err
	}
	if q.buffer, err = unix.GetsockoptInt(q.fd, unix.SOL_SOCKET, unix.SO_RCVBUF); err != nil {
		return fmt.Errorf("get SO_RCVBUF: %w", err)
	}
	unpoll(q.fd)
	tv := unix.NsecToTimeval(int64(briefly / 5))
	if err := unix.SetsockoptTimeval(q.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return fmt.Errorf("set SO_RCVTIMEO: %w", err)
	}
	if err := unix.SetNonblock(q.fd, false); err != nil {
		return fmt.Errorf("make the socket wait: %w", err)
	}
	for i := range q.msgs {
		q.iovs[i].Base = &q.mem[i*q.slot]
		q.iovs[i].SetLen(q.slot)
		q.msgs[i].hdr.Iov = &q.iovs[i]
		q.msgs[i].hdr.SetIovlen(1)
	}
	return nil
}

// Received is what a Receive brought.
type Received struct {
	N      int    // packets
	More   bool   // more may be there
	Waited bool   // there was nothing at first
	Mark   uint32 // the last mark that came; 0: none
}

// Receive waits until packets are there, Wake is called or the time is over, and fills
// as much of pkts as it can. The packets' bytes are valid until the next Receive, and
// may be written to. A negative time means no end.
//
// It waits in the system call that receives, if it may wait for long and
// packets come one after the other: that one is enough then. Go's scheduler is
// not told, and keeps its hands off: told, it would find other threads to do
// what there is not, and wake them, at a quarter of the cost of a packet. So
// this takes up a processor of Go's (a P) for a jiffy at most; the signal by
// which the runtime stops a goroutine ends it early (EINTR).
func (q *Queue) Receive(pkts []Packet, wait time.Duration) (Received, error) {
	busy := q.busy && !q.more && wait > briefly
	for waited := false; ; waited = true {
		flags := unix.MSG_DONTWAIT
		if busy && !waited {
			flags = unix.MSG_WAITFORONE
		}
		room := min(len(pkts), BatchSize)
		n, errno := q.recvmmsg(room, flags)
		switch errno {
		case 0:
			r := q.decode(pkts, n)
			if r.N > 0 {
				q.verdicts.expect(pkts[:r.N])
			}
			q.busy, q.more = q.spare && r.N > 0, n == room
			r.More, r.Waited = q.more, waited
			return r, nil // no packet: it was a wake, a mark, or a complaint
		case unix.EINTR, unix.ENOBUFS: // the latter is not asked for, and harmless
			if busy {
				return Received{More: true}, nil
			}
		case unix.EAGAIN:
			q.busy, q.more = false, false
			if waited || wait == 0 {
				return Received{Waited: true}, nil
			}
			q.poll(wait)
		default:
			return Received{More: true}, fmt.Errorf("receive from queue %d: %w", q.number, errno)
		}
	}
}

// unpoll removes the descriptor from the Go runtime's poller, where go-nfqueue has put
// it: each packet would wake a thread that finds nothing to do. The runtime accepts
// that it is gone when the socket is closed.
func unpoll(fd int) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return // it only costs time
	}
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err != nil || to != "anon_inode:[eventpoll]" {
			continue
		}
		if epfd, err := strconv.Atoi(e.Name()); err == nil {
			unix.EpollCtl(epfd, unix.EPOLL_CTL_DEL, fd, nil)
		}
	}
}

func (q *Queue) recvmmsg(n, flags int) (int, syscall.Errno) {
	r, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(q.fd), uintptr(unsafe.Pointer(&q.msgs[0])), uintptr(n), uintptr(flags), 0, 0)
	return int(r), errno
}

// poll waits for a packet, a wake or the end of the time, which it keeps more
// exactly than to a jiffy.
func (q *Queue) poll(wait time.Duration) {
	fds := [1]unix.PollFd{{Fd: int32(q.fd), Events: unix.POLLIN}}
	var ts *unix.Timespec
	if wait >= 0 {
		t := unix.NsecToTimespec(int64(wait))
		ts = &t
	}
	unix.Ppoll(fds[:], ts, nil)
}

// Wake makes a Receive that waits return. Any goroutine may call it, after Close too.
//
// It answers a packet that no queue ever holds: the kernel's complaint about
// it makes the socket readable.
func (q *Queue) Wake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed { // the descriptor may be another file's by now
		return
	}
	msg := appendVerdict(nil, q.number, 0, &Verdict{ID: 0})
	unix.Write(q.fd, msg)
}

// decode turns n received messages into packets, in place.
func (q *Queue) decode(pkts []Packet, n int) (r Received) {
	for i := range n {
		msg := q.mem[i*q.slot:][:q.msgs[i].n]
		if decodePacket(msg, q.gso, &pkts[r.N]) {
			r.N++
		} else if mark := decodeMark(msg); mark != 0 {
			r.Mark = mark
		}
	}
	return r
}

// Mark has a mark, which is not 0, received behind the packets that have come in by the
// next Flush, and before all that come in later. It is lost if the kernel has no room
// for it.
func (q *Queue) Mark(mark uint32) {
	q.verdicts.out = appendMark(q.verdicts.out, q.number, mark)
}

// Limit makes room for that many packets that have not been received, from the next
// Flush on: the kernel lets further ones pass. If there are two netfilter queues each
// has half of it; with Length each has all of it. What was received and has no verdict yet does not count, as it is
// when Limit is called. No queue has room for more than Length.
func (q *Queue) Limit(packets int) {
	if q.gso != 0 && packets < Length {
		packets /= 2
	}
	for i := range q.verdicts.of {
		a := &q.verdicts.of[i]
		if i == GSOQueue.index() && q.gso == 0 {
			continue
		}
		q.verdicts.out = appendLength(q.verdicts.out, a.queue, uint32(min(packets+a.waiting, Length)))
	}
}

// Verdict gives the verdict on a packet. It may be collected until Flush.
func (q *Queue) Verdict(v Verdict) {
	if len(q.verdicts.out)+len(v.Bytes) > verdictRoom {
		q.failed = errors.Join(q.failed, q.Flush())
	}
	q.verdicts.add(&v)
}

// Flush sends the verdicts that were collected.
func (q *Queue) Flush() error {
	err := q.failed
	q.failed = nil
	msgs := q.verdicts.take()
	if len(msgs) == 0 {
		return err
	}
	// The packets continue within this call.
	errno := q.send(msgs)
	for wait := time.Millisecond; noMemory(errno) && wait <= longestWait; wait *= 2 {
		q.pause(wait)
		errno = q.send(msgs)
	}
	if errno != 0 {
		err = errors.Join(err, fmt.Errorf("send verdicts: %w", errno))
	}
	return err
}

// longestWait is the last of the pauses, each twice as long as the one before, in which
// the kernel may get memory for verdicts again: half a second in all, far below the
// limit of the watchdog. Packets without a verdict by then stay in the queue until the
// run ends.
const longestWait = 256 * time.Millisecond

// noMemory reports whether a write failed for lack of memory: then nothing of it has
// arrived.
func noMemory(errno syscall.Errno) bool {
	return errno == unix.ENOBUFS || errno == unix.ENOMEM || errno == unix.EAGAIN
}

func (q *Queue) send(msgs []byte) syscall.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(q.fd), uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)))
	return errno
}

// Close closes the queue. The kernel drops the packets still in it.
func (q *Queue) Close() error {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	unix.SetNonblock(q.fd, true) // as go-nfqueue knows it
	close(q.parked)
	err := q.nf.Close() // the kernel drops the queue with its socket
	runtime.KeepAlive(q.mem)
	return err
}
