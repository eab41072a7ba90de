package injector

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	nfq "github.com/florianl/go-nfqueue/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	batchSize  = 64      // packets taken by one system call
	slotSize   = 0x10800 // room for one message: 64 KiB of packet and its attributes
	queueLen   = 1 << 16 // packets the kernel keeps for us before it lets them pass
	readBuffer = 32 << 20

	// verdictRoom is how many bytes of verdicts are kept back: with one more
	// packet of 64 KiB they must fit into the socket's send buffer, 208 KiB
	// unless the host has it smaller, or the kernel refuses them all and their
	// packets hang in the queue (netlink_sendmsg, EMSGSIZE).
	verdictRoom = 1 << 16

	firstQueue = 61440           // where the search for a free queue number starts
	lastQueue  = firstQueue + 23 // each has a chain priority of its own above NAT's
)

// nfqueue is the kernel's queue. go-nfqueue opens, binds and configures it;
// the loop on its socket is ours, because go-nfqueue's own makes two system
// calls and 64 allocations for each packet.
type nfqueue struct {
	nf     *nfq.Nfqueue
	parked chan struct{} // closed to let go-nfqueue's receiver end
	fd     int
	wakefd int

	msgs [batchSize]mmsghdr
	iovs [batchSize]unix.Iovec
	mem  []byte

	out    []byte // verdict messages kept back
	failed error  // of a flush that verdict made, for the next one to return
	number uint16

	overruns uint64 // times the socket's buffer was too small
}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
	_   [4]byte
}

// openQueue binds the queue of that number in the namespace, or the first free
// one if number is 0.
func openQueue(netns *os.File, number uint16) (*nfqueue, error) {
	first, last := number, number
	if number == 0 {
		first, last = firstQueue, lastQueue
	}
	var err error
	for n := first; n <= last; n++ {
		var q *nfqueue
		if q, err = bindQueue(netns, n); err == nil {
			return q, nil
		}
		if !errors.Is(err, syscall.EBUSY) && !errors.Is(err, syscall.EPERM) || n == last {
			break
		}
	}
	return nil, fmt.Errorf("bind netfilter queue: %w", explain(err))
}

func bindQueue(netns *os.File, number uint16) (*nfqueue, error) {
	cfg := nfq.Config{
		NfQueue:      number,
		AfFamily:     unix.AF_UNSPEC,
		Copymode:     nfq.NfQnlCopyPacket,
		MaxPacketLen: 0xffff,
		MaxQueueLen:  queueLen,
		Flags:        nfq.NfQaCfgFlagFailOpen,
	}
	if netns != nil {
		cfg.NetNS = int(netns.Fd())
	}
	nf, err := nfq.Open(&cfg)
	if err != nil {
		return nil, err
	}
	q := &nfqueue{nf: nf, number: number, parked: make(chan struct{}), mem: make([]byte, batchSize*slotSize)}
	if err := q.start(); err != nil {
		close(q.parked)
		nf.Close()
		return nil, err
	}
	return q, nil
}

// start binds the queue and takes its socket over. go-nfqueue starts a receiver
// of its own, which a deadline in the past sends into the error function, where
// it stays until close: it unbinds the queue when it returns.
func (q *nfqueue) start() error {
	if err := q.nf.Con.SetReadBuffer(readBuffer); err != nil {
		return fmt.Errorf("set read buffer: %w", err)
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
	if q.wakefd, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	for i := range q.msgs {
		q.iovs[i].Base = &q.mem[i*slotSize]
		q.iovs[i].SetLen(slotSize)
		q.msgs[i].hdr.Iov = &q.iovs[i]
		q.msgs[i].hdr.SetIovlen(1)
	}
	return nil
}

func (q *nfqueue) receive(pkts []packetIn, wait time.Duration) (int, error) {
	for waited := false; ; waited = true {
		n, errno := q.recvmmsg(min(len(pkts), batchSize))
		switch errno {
		case 0:
			if k := q.decode(pkts, n); k > 0 {
				return k, nil
			}
			continue
		case unix.EINTR:
			continue
		case unix.ENOBUFS:
			q.overruns++
			continue
		case unix.EAGAIN:
			if waited || wait == 0 {
				return 0, nil
			}
			q.poll(wait)
		default:
			return 0, fmt.Errorf("receive from queue %d: %w", q.number, errno)
		}
	}
}

func (q *nfqueue) recvmmsg(n int) (int, syscall.Errno) {
	r, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(q.fd), uintptr(unsafe.Pointer(&q.msgs[0])), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	return int(r), errno
}

// poll waits for a packet, a wake or the end of the time.
func (q *nfqueue) poll(wait time.Duration) {
	fds := [2]unix.PollFd{{Fd: int32(q.fd), Events: unix.POLLIN}, {Fd: int32(q.wakefd), Events: unix.POLLIN}}
	var ts *unix.Timespec
	if wait >= 0 {
		t := unix.NsecToTimespec(int64(wait))
		ts = &t
	}
	unix.Ppoll(fds[:], ts, nil)
	if fds[1].Revents != 0 {
		var buf [8]byte
		unix.Read(q.wakefd, buf[:])
	}
}

func (q *nfqueue) wake() {
	one := [8]byte{1}
	unix.Write(q.wakefd, one[:])
}

// decode turns n received messages into packets, in place.
func (q *nfqueue) decode(pkts []packetIn, n int) int {
	k := 0
	for i := range n {
		msg := q.mem[i*slotSize:][:q.msgs[i].n]
		if decodePacket(msg, &pkts[k]) {
			k++
		}
	}
	return k
}

// Offsets and numbers of linux/netlink.h and linux/netfilter/nfnetlink_queue.h.
const (
	nlHeader  = 16 // struct nlmsghdr
	nfHeader  = 4  // struct nfgenmsg
	nlaHeader = 4  // struct nlattr

	msgPacket  = unix.NFNL_SUBSYS_QUEUE << 8 // NFQNL_MSG_PACKET, 0 in its subsystem
	msgVerdict = msgPacket | 1               // NFQNL_MSG_VERDICT

	attrPacketHdr  = 1  // NFQA_PACKET_HDR: id be32, hw_protocol be16, hook u8
	attrVerdictHdr = 2  // NFQA_VERDICT_HDR: verdict be32, id be32
	attrMark       = 3  // NFQA_MARK, be32
	attrIndev      = 5  // NFQA_IFINDEX_INDEV, be32
	attrOutdev     = 6  // NFQA_IFINDEX_OUTDEV, be32
	attrPayload    = 10 // NFQA_PAYLOAD
	attrSkbInfo    = 14 // NFQA_SKB_INFO, be32
	attrPriority   = 21 // NFQA_PRIORITY, be32

	skbCsumNotReady = 1 << 0
	skbGSO          = 1 << 1
)

// decodePacket reads one NFQNL_MSG_PACKET. It reports false for anything else,
// such as the kernel's complaint about a verdict that came too late.
func decodePacket(msg []byte, p *packetIn) bool {
	if len(msg) < nlHeader+nfHeader || binary.NativeEndian.Uint16(msg[4:]) != msgPacket {
		return false
	}
	*p = packetIn{}
	known := false
	for b := msg[nlHeader+nfHeader:]; len(b) >= nlaHeader; {
		size := int(binary.NativeEndian.Uint16(b))
		if size < nlaHeader || size > len(b) {
			break
		}
		data := b[nlaHeader:size]
		switch kind := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER); {
		case kind == attrPacketHdr && len(data) >= 7:
			p.id, p.hook, known = binary.BigEndian.Uint32(data), data[6], true
		case kind == attrPayload:
			p.bytes = data
		case len(data) != 4:
		case kind == attrMark:
			p.mark = binary.BigEndian.Uint32(data)
		case kind == attrPriority:
			p.priority = binary.BigEndian.Uint32(data)
		case kind == attrIndev, kind == attrOutdev && p.iface == 0:
			p.iface = binary.BigEndian.Uint32(data)
		case kind == attrSkbInfo:
			info := binary.BigEndian.Uint32(data)
			p.partial, p.gso = info&skbCsumNotReady != 0, info&skbGSO != 0
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return known
}

func (q *nfqueue) verdict(v verdictOut) {
	if len(q.out)+len(v.bytes) > verdictRoom {
		q.failed = errors.Join(q.failed, q.flush())
	}
	q.out = appendVerdict(q.out, q.number, &v)
}

// appendVerdict appends one NFQNL_MSG_VERDICT.
func appendVerdict(b []byte, number uint16, v *verdictOut) []byte {
	start := len(b)
	b = append(b, make([]byte, nlHeader)...)
	binary.NativeEndian.PutUint16(b[start+4:], msgVerdict)
	binary.NativeEndian.PutUint16(b[start+6:], unix.NLM_F_REQUEST)
	b = append(b, unix.AF_UNSPEC, unix.NFNETLINK_V0, byte(number>>8), byte(number))

	what := uint32(1) // NF_ACCEPT
	if v.drop {
		what = 0 // NF_DROP
	}
	b = appendAttr(b, attrVerdictHdr, 8)
	b = binary.BigEndian.AppendUint32(b, what)
	b = binary.BigEndian.AppendUint32(b, v.id)
	if v.signal != 0 {
		b = appendAttr(b, attrPriority, 4)
		b = binary.BigEndian.AppendUint32(b, v.priority|uint32(v.signal))
	}
	if v.bytes != nil {
		b = appendAttr(b, attrPayload, len(v.bytes))
		b = append(b, v.bytes...)
		for len(b)&3 != 0 {
			b = append(b, 0)
		}
	}
	binary.NativeEndian.PutUint32(b[start:], uint32(len(b)-start))
	return b
}

func appendAttr(b []byte, kind, size int) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(nlaHeader+size))
	return binary.NativeEndian.AppendUint16(b, uint16(kind))
}

func (q *nfqueue) flush() error {
	err := q.failed
	q.failed = nil
	if len(q.out) == 0 {
		return err
	}
	if _, e := unix.Write(q.fd, q.out); e != nil {
		err = errors.Join(err, fmt.Errorf("send verdicts: %w", e))
	}
	q.out = q.out[:0]
	return err
}

func (q *nfqueue) close() error {
	close(q.parked)
	err := q.nf.Close() // the kernel drops the queue with its socket
	unix.Close(q.wakefd)
	runtime.KeepAlive(q.mem)
	return err
}
