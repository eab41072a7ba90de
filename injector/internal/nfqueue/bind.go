package nfqueue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/faultctl/faultctl/injector/internal/kerror"
	nfq "github.com/florianl/go-nfqueue/v2"
	"golang.org/x/sys/unix"
)

// Numbers of netfilter queues. Other programs on a host use low ones.
const (
	First = 61440      // the first number that Open tries
	Last  = First + 23 // the last one

	FirstGSO = Last + 1 // the first number for queues of GSO packets
	LastGSO  = FirstGSO + 23
)

// Copying says how packets are handed over.
type Copying struct {
	Whole       bool // with their payload
	GSO         bool // GSO packets unsegmented (NFQA_CFG_F_GSO)
	SeparateGSO bool // GSO packets of local senders unsegmented, in a queue of their own
}

// Open binds n queues with consecutive numbers in the namespace (nil means the caller's
// own): from the given number on, or, if that is 0, at the first n free numbers from
// First on. No rule may queue to them yet. The error wraps one of kerror where
// possible; it is kerror.ErrPermission also if all numbers are taken.
func Open(netns *os.File, number, n uint16, how Copying) (qs []*Queue, err error) {
	first, last := number, number
	if number == 0 {
		first, last = First, Last+1-n
	}
	err = firstFree(first, last, func(at uint16) (err error) {
		qs, err = bindQueues(netns, at, n, how)
		return err
	})
	if err == nil && how.SeparateGSO {
		err = firstFree(FirstGSO, LastGSO+1-n, func(at uint16) error { return bindGSO(qs, at) })
		if err != nil {
			Close(qs)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("bind netfilter queue: %w", kerror.Explain(err))
	}
	return qs, nil
}

// firstFree binds queues from the first free number on.
func firstFree(first, last uint16, bind func(at uint16) error) (err error) {
	for at := first; at <= last; at++ {
		err = bind(at)
		if !errors.Is(err, syscall.EBUSY) && !errors.Is(err, syscall.EPERM) {
			break
		}
	}
	return err
}

func bindQueues(netns *os.File, number, n uint16, how Copying) (qs []*Queue, err error) {
	for i := range n {
		q, err := bindQueue(netns, number+i, how)
		if err != nil {
			Close(qs)
			return nil, err
		}
		q.spare = int(n) < runtime.GOMAXPROCS(0)
		qs = append(qs, q)
	}
	return qs, nil
}

// Close closes all queues.
func Close(qs []*Queue) {
	for _, q := range qs {
		q.Close()
	}
}

func bindQueue(netns *os.File, number uint16, how Copying) (*Queue, error) {
	cfg := nfq.Config{
		NfQueue:      number,
		AfFamily:     unix.AF_UNSPEC,
		Copymode:     nfq.NfQnlCopyPacket,
		MaxPacketLen: headersOnly,
		MaxQueueLen:  Length,
		Flags:        nfq.NfQaCfgFlagFailOpen,
	}
	if how.Whole {
		cfg.MaxPacketLen = wholePacket
	}
	if how.GSO {
		cfg.Flags |= nfq.NfQaCfgFlagGSO
	}
	if netns != nil {
		cfg.NetNS = int(netns.Fd())
	}
	nf, err := nfq.Open(&cfg)
	if err != nil {
		return nil, err
	}
	slot := int(cfg.MaxPacketLen+attrRoom) &^ 63
	q := &Queue{
		pause: time.Sleep,
		nf:    nf, number: number, parked: make(chan struct{}), slot: slot,
		msgs: make([]mmsghdr, BatchSize), iovs: make([]unix.Iovec, BatchSize), mem: make([]byte, BatchSize*slot),
		verdicts: verdicts{of: [2]answers{{queue: number}}},
	}
	if err := q.start(); err != nil {
		close(q.parked)
		nf.Close()
		return nil, err
	}
	return q, nil
}

// bindGSO gives each queue a second number, from the given one on, for GSO packets of
// local senders: either all of them get one or none.
func bindGSO(qs []*Queue, number uint16) error {
	for i, q := range qs {
		n := number + uint16(i)
		if err := q.configure(n, true); err != nil {
			for j, q := range qs[:i] {
				q.configure(number+uint16(j), false)
				q.gso = 0
			}
			return err
		}
		q.gso, q.verdicts.of[GSOQueue.index()].queue = n, n
	}
	return nil
}

// Numbers of linux/netfilter/nfnetlink_queue.h.
const (
	attrCfgCmd    = 1 // NFQA_CFG_CMD: command u8, pad u8, family be16
	attrCfgParams = 2 // NFQA_CFG_PARAMS: copy_range be32, copy_mode u8
	attrCfgMaxLen = 3 // NFQA_CFG_QUEUE_MAXLEN, be32
	attrCfgMask   = 4 // NFQA_CFG_MASK, be32: which of the flags change
	attrCfgFlags  = 5 // NFQA_CFG_FLAGS, be32

	cmdBind, cmdUnbind = 1, 2 // NFQNL_CFG_CMD_BIND, NFQNL_CFG_CMD_UNBIND
)

// configure binds a queue of that number to the socket, or unbinds it. A socket may
// have many queues, but go-nfqueue knows only one. No rule may queue to the socket yet,
// because a packet would arrive where an acknowledgment is expected.
func (q *Queue) configure(number uint16, bind bool) error {
	cmd := byte(cmdUnbind)
	if bind {
		cmd = cmdBind
	}
	b := appendMessage(nil, msgConfig, unix.NLM_F_REQUEST|unix.NLM_F_ACK, number)
	b = append(appendAttr(b, attrCfgCmd, 4), cmd, 0, 0, unix.AF_UNSPEC)
	if bind {
		const flags = nfq.NfQaCfgFlagFailOpen | nfq.NfQaCfgFlagGSO
		b = binary.BigEndian.AppendUint32(appendAttr(b, attrCfgParams, 5), wholePacket)
		b = append(b, nfq.NfQnlCopyPacket, 0, 0, 0) // and padding
		b = binary.BigEndian.AppendUint32(appendAttr(b, attrCfgMaxLen, 4), Length)
		b = binary.BigEndian.AppendUint32(appendAttr(b, attrCfgMask, 4), flags)
		b = binary.BigEndian.AppendUint32(appendAttr(b, attrCfgFlags, 4), flags)
	}
	if errno := q.send(endMessage(b, 0)); errno != 0 {
		return errno
	}
	answer := make([]byte, nlHeader+4+len(b)) // struct nlmsgerr quotes the request
	n, err := unix.Read(q.fd, answer)
	switch {
	case err != nil:
		return err
	case n < nlHeader+4 || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR:
		return fmt.Errorf("configure queue %d: the kernel did not answer", number)
	}
	if errno := -int32(binary.NativeEndian.Uint32(answer[nlHeader:])); errno != 0 {
		return syscall.Errno(errno)
	}
	return nil
}
