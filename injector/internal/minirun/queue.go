// Package minirun is a minimal run for tests of the kernel: a queue whose packets a
// function judges, rules that lead to it, and a raw socket.
package minirun

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Packet is what the queue hands over.
type Packet struct {
	ID       uint32
	Hook     uint8
	Mark     uint32
	Priority uint32
	Bytes    []byte
}

// Verdict is what becomes of it. The zero Verdict accepts it.
type Verdict struct {
	Drop     bool
	Repeat   bool    // through the chain once more
	Bytes    []byte  // replaces it
	Priority *uint32 // its new priority
}

// In runs f on a thread in the namespace.
func In(ns *os.File, f func() error) error {
	if ns == nil {
		return f()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// Numbers of linux/netfilter/nfnetlink_queue.h.
const (
	flagConntrack = 1 << 1 // NFQA_CFG_F_CONNTRACK
)

// Queue binds the queue of that number in the namespace until the test is over,
// and has each packet judged, one after the other.
func Queue(t testing.TB, ns *os.File, number uint16, judge func(Packet) Verdict) {
	t.Helper()
	var fd int
	err := In(ns, func() (err error) {
		fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	tv := unix.NsecToTimeval(int64(20 * time.Millisecond))
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	bind := attr(1, []byte{1, 0, 0, 0})                                      // NFQA_CFG_CMD: bind
	params := attr(2, append(binary.BigEndian.AppendUint32(nil, 0xffff), 2)) // NFQA_CFG_PARAMS: copy packets
	length := attr(3, binary.BigEndian.AppendUint32(nil, 1024))              // NFQA_CFG_QUEUE_MAXLEN
	mask := attr(4, binary.BigEndian.AppendUint32(nil, flagConntrack))       // NFQA_CFG_MASK
	flags := attr(5, binary.BigEndian.AppendUint32(nil, flagConntrack))      // NFQA_CFG_FLAGS
	for _, body := range [][]byte{append(bind, append(params, length...)...), append(mask, flags...)} {
		if err := ask(fd, number, body); err != nil && err != unix.EOPNOTSUPP {
			t.Fatalf("configure queue %d: %v", number, err)
		}
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1<<17)
		for {
			select {
			case <-stop:
				return
			default:
			}
			n, err := unix.Read(fd, buf)
			if err != nil {
				continue
			}
			if p, ok := decode(buf[:n]); ok {
				send(fd, number, p, judge(p))
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
		unix.Close(fd)
	})
}

func attr(kind int, data []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(data)))
	b = binary.NativeEndian.AppendUint16(b, uint16(kind))
	b = append(b, data...)
	for len(b)&3 != 0 {
		b = append(b, 0)
	}
	return b
}

func message(kind, flags int, number uint16, body []byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(20+len(body)))
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.NFNL_SUBSYS_QUEUE<<8|kind))
	b = binary.NativeEndian.AppendUint16(b, uint16(flags))
	b = append(b, make([]byte, 8)...)
	b = append(b, unix.AF_UNSPEC, unix.NFNETLINK_V0, byte(number>>8), byte(number))
	return append(b, body...)
}

func ask(fd int, number uint16, body []byte) error {
	if _, err := unix.Write(fd, message(2, unix.NLM_F_REQUEST|unix.NLM_F_ACK, number, body)); err != nil {
		return err
	}
	buf := make([]byte, 4096)
	n, err := unix.Read(fd, buf)
	if err != nil {
		return err
	}
	if n < 20 || binary.NativeEndian.Uint16(buf[4:]) != unix.NLMSG_ERROR {
		return fmt.Errorf("no acknowledgment")
	}
	if errno := -int32(binary.NativeEndian.Uint32(buf[16:])); errno != 0 {
		return unix.Errno(errno)
	}
	return nil
}

func decode(b []byte) (p Packet, ok bool) {
	if len(b) < 20 || binary.NativeEndian.Uint16(b[4:]) != unix.NFNL_SUBSYS_QUEUE<<8 {
		return p, false
	}
	for b = b[20:]; len(b) >= 4; {
		size := int(binary.NativeEndian.Uint16(b))
		if size < 4 || size > len(b) {
			break
		}
		data := b[4:size]
		switch binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER) {
		case 1:
			p.ID, p.Hook, ok = binary.BigEndian.Uint32(data), data[6], true
		case 3:
			p.Mark = binary.BigEndian.Uint32(data)
		case 10:
			p.Bytes = append([]byte(nil), data...)
		case 21:
			p.Priority = binary.BigEndian.Uint32(data)
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return p, ok
}

func send(fd int, number uint16, p Packet, v Verdict) {
	what := uint32(1)
	switch {
	case v.Drop:
		what = 0
	case v.Repeat:
		what = 4
	}
	body := attr(2, binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, what), p.ID))
	if v.Priority != nil {
		body = append(body, attr(21, binary.BigEndian.AppendUint32(nil, *v.Priority))...)
	}
	if v.Bytes != nil {
		body = append(body, attr(10, v.Bytes)...)
	}
	unix.Write(fd, message(1, unix.NLM_F_REQUEST, number, body))
}
