// Package tracepoint reads what the kernel tells about resets: that a socket received a
// RST (tcp:tcp_receive_reset), that its program was told of the error
// (sock:inet_sk_error_report), that a call returned it (sock:sock_recv_length,
// sock:sock_send_length), that a RST is sent and why (tcp:tcp_send_reset, whose reason
// it has since Linux 6.10), and why packets were dropped (skb:kfree_skb, since 5.17).
//
// Events come by perf_event_open(2): the host's tracing is not changed, and nothing is
// left behind, however the process ends. It needs CAP_PERFMON (or CAP_SYS_ADMIN) in the
// first user namespace, and tracefs, which is mounted for this process alone if no
// mount is visible. Tracepoints do not know network namespaces: sockets are told apart
// by their cookies.
package tracepoint

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// point is a tracepoint, with its fields as its format file describes them.
type point struct {
	name   string
	kind   Kind
	filter string
	id     uint64
	fields map[string]field

	reasons map[uint64]string // the words for the values of the field reason
}

// points returns the tracepoints. Only calls that fail because of a reset matter.
func points() []point {
	failed := fmt.Sprintf("protocol == %d && (ret == -%d || ret == -%d || ret == -%d || ret == -%d)", unix.IPPROTO_TCP,
		unix.ECONNRESET, unix.EPIPE, unix.ETIMEDOUT, unix.ECONNREFUSED)
	return []point{
		{name: "tcp/tcp_receive_reset", kind: ReceivedReset},
		{name: "sock/inet_sk_error_report", kind: ErrorReported, filter: fmt.Sprintf("protocol == %d", unix.IPPROTO_TCP)},
		{name: "sock/sock_recv_length", kind: CallFailed, filter: failed},
		{name: "sock/sock_send_length", kind: CallFailed, filter: failed},
		{name: "tcp/tcp_send_reset", kind: SentReset},
		{name: "skb/kfree_skb", kind: Dropped}, // its filter follows from its format
	}
}

// Source delivers events of all processors. It is for one goroutine, except Lost.
type Source struct {
	points []point
	rings  []ring
	fds    []int
	lost   atomic.Uint64
	rec    []byte

	pending []Event // newer events of another processor may come before them
}

// Open starts to listen to events of these kinds. CallFailed costs each call of the
// host that sends or receives on a socket about 200 ns; the others cost nothing until
// there is a reset. The error says what is missing. It is no error if the kernel does
// not have one of the kinds, see Can.
func Open(kinds ...Kind) (*Source, error) {
	all, err := read()
	if err != nil {
		return nil, err
	}
	s := &Source{rec: make([]byte, 1<<16)}
	for _, p := range all {
		if slices.Contains(kinds, p.kind) {
			s.points = append(s.points, p)
		}
	}
	cpus, err := online()
	if err != nil {
		return nil, err
	}
	for _, cpu := range cpus {
		if err := s.listen(cpu); err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

// Can reports whether the kernel has events of that kind.
func (s *Source) Can(k Kind) bool {
	for _, p := range s.points {
		if p.kind == k {
			return true
		}
	}
	return false
}

// Close stops listening.
func (s *Source) Close() error {
	for _, r := range s.rings {
		unix.Munmap(r.mem)
	}
	for _, fd := range s.fds {
		unix.Close(fd)
	}
	s.rings, s.fds = nil, nil
	return nil
}

// Lost returns how many events were lost for lack of room.
func (s *Source) Lost() uint64 { return s.lost.Load() }

// Prepare reads what tracefs says of the tracepoints, which does not change while
// the kernel runs. After it Open does without tracefs and the right to mount it.
func Prepare() error {
	_, err := read()
	return err
}

// known are the tracepoints that this kernel has, once they have been read.
var known struct {
	sync.Mutex
	points []point
}

// read returns the tracepoints that this kernel has.
func read() ([]point, error) {
	known.Lock()
	defer known.Unlock()
	if known.points != nil {
		return known.points, nil
	}
	root, err := tracefs()
	if err != nil {
		return nil, err
	}
	defer unix.Close(root)
	there := []point{}
	for _, p := range points() {
		if err := p.read(root); err != nil {
			if errors.Is(err, unix.ENOENT) {
				continue // an older kernel
			}
			return nil, err
		}
		there = append(there, p)
	}
	known.points = there
	return there, nil
}

// Wait waits until there may be events, but no longer than d.
func (s *Source) Wait(d time.Duration) error {
	if len(s.pending) > 0 {
		d = min(d, settled)
	}
	fds := make([]unix.PollFd, len(s.rings))
	for i, r := range s.rings {
		fds[i] = unix.PollFd{Fd: int32(r.fd), Events: unix.POLLIN}
	}
	ts := unix.NsecToTimespec(int64(d))
	_, err := unix.Ppoll(fds, &ts, nil)
	if err == unix.EINTR {
		return nil
	}
	return err
}

// settled is the age at which an event is surely in its ring, so that events of all
// processors can be sorted.
const settled = time.Millisecond

// Read calls f for each event so far, in order of time. It delivers an event a
// millisecond after it happened, at the earliest.
func (s *Source) Read(f func(Event)) {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	until := time.Duration(ts.Nano()) - settled
	for i := range s.rings {
		s.drain(&s.rings[i], func(ev Event) { s.pending = append(s.pending, ev) })
	}
	slices.SortStableFunc(s.pending, func(a, b Event) int { return cmp.Compare(a.At, b.At) })
	n := 0
	for n < len(s.pending) && s.pending[n].At <= until {
		f(s.pending[n])
		n++
	}
	s.pending = slices.Delete(s.pending, 0, n)
}
