// Package tracepoint reads what the kernel itself says of resets: that a socket
// received a RST (tcp:tcp_receive_reset), that its program was told of the error
// (sock:inet_sk_error_report), and that a call returned it (sock:sock_recv_length,
// sock:sock_send_length).
//
// The events come by perf_event_open(2): nothing of the host's tracing is changed
// and nothing is left behind, however the process ends. It needs CAP_PERFMON (or
// CAP_SYS_ADMIN) in the first user namespace, and tracefs, which is mounted for
// this process alone where no mount of it is to be seen. Tracepoints know no
// network namespaces: a socket is told from another one by its cookie.
package tracepoint

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Kind is what an Event says.
type Kind uint8

// The kinds.
const (
	ReceivedReset Kind = iota // a socket received a RST and is closed by it
	ErrorReported             // a socket that a program has got an error
	CallFailed                // a call that receives or sends returned an error
	numKinds
)

func (k Kind) String() string {
	return [...]string{"received a RST", "error reported", "call failed"}[min(k, CallFailed)]
}

// Event is one thing that the kernel tells.
type Event struct {
	Kind          Kind
	At            time.Duration // CLOCK_MONOTONIC
	PID           uint32        // of the thread that ran: of a call that failed, the one that made it
	Local, Remote netip.AddrPort
	Cookie        uint64     // of the socket, as sock_diag names it; 0 if the kernel does not tell it
	Sock          uint64     // the socket's address: the same for all events of a socket; 0 if not told
	Errno         unix.Errno // of an error
}

// point is a tracepoint, and where its fields are, by its format file.
type point struct {
	name   string
	kind   Kind
	filter string
	id     uint64
	fields map[string]field
}

type field struct{ offset, size int }

// points are the tracepoints. Of calls those alone matter that fail for a reset.
func points() []point {
	failed := fmt.Sprintf("protocol == %d && (ret == -%d || ret == -%d || ret == -%d || ret == -%d)", unix.IPPROTO_TCP,
		unix.ECONNRESET, unix.EPIPE, unix.ETIMEDOUT, unix.ECONNREFUSED)
	return []point{
		{name: "tcp/tcp_receive_reset", kind: ReceivedReset},
		{name: "sock/inet_sk_error_report", kind: ErrorReported, filter: fmt.Sprintf("protocol == %d", unix.IPPROTO_TCP)},
		{name: "sock/sock_recv_length", kind: CallFailed, filter: failed},
		{name: "sock/sock_send_length", kind: CallFailed, filter: failed},
	}
}

// Source delivers events of all processors. It is for one goroutine, but for
// Lost.
type Source struct {
	points []point
	rings  []ring
	fds    []int
	lost   atomic.Uint64
	rec    []byte

	pending []Event // not settled
}

// ring is the memory that the kernel shares with us for one processor.
type ring struct {
	fd  int
	mem []byte
}

const ringPages = 16 // of data; a power of two

// Open starts to listen to events of those kinds. CallFailed costs each call of
// the host that sends or receives on a socket some 200 ns; the others cost nothing
// until there is a reset. The error says what is missing; a kernel that
// does not tell events of one of the kinds is none, see Can.
func Open(kinds ...Kind) (*Source, error) {
	root, err := tracefs()
	if err != nil {
		return nil, err
	}
	defer unix.Close(root)
	s := &Source{rec: make([]byte, 1<<16)}
	for _, p := range points() {
		if !slices.Contains(kinds, p.kind) {
			continue
		}
		if err := p.read(root); err != nil {
			if errors.Is(err, unix.ENOENT) {
				continue // an older kernel
			}
			return nil, err
		}
		s.points = append(s.points, p)
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

// Can reports whether the kernel tells events of that kind.
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

// Lost returns how many events found no room.
func (s *Source) Lost() uint64 { return s.lost.Load() }

// tracefs returns a descriptor of the root of tracefs.
func tracefs() (int, error) {
	for _, path := range []string{"/sys/kernel/tracing", "/sys/kernel/debug/tracing"} {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		if _, err := readAt(fd, "events/tcp/tcp_receive_reset/id"); err == nil {
			return fd, nil
		}
		unix.Close(fd)
	}
	fs, err := unix.Fsopen("tracefs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open tracefs: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("open tracefs: %w", err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY)
	if err != nil {
		return -1, fmt.Errorf("mount tracefs: %w", err)
	}
	return fd, nil
}

func readAt(root int, path string) (string, error) {
	fd, err := unix.Openat(root, path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open %s in tracefs: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	b, err := io.ReadAll(f)
	return string(b), err
}

// read reads the tracepoint's number and its fields.
func (p *point) read(root int) error {
	id, err := readAt(root, "events/"+p.name+"/id")
	if err != nil {
		return err
	}
	if p.id, err = strconv.ParseUint(strings.TrimSpace(id), 10, 64); err != nil {
		return fmt.Errorf("tracepoint %s: %w", p.name, err)
	}
	format, err := readAt(root, "events/"+p.name+"/format")
	if err != nil {
		return err
	}
	p.fields = parseFormat(format)
	return nil
}

// parseFormat reads the lines of a format file such as
// "field:__u16 sport;	offset:16;	size:2;	signed:0;".
func parseFormat(text string) map[string]field {
	fields := map[string]field{}
	for line := range strings.Lines(text) {
		decl, rest, ok := strings.Cut(strings.TrimSpace(line), ";")
		decl, is := strings.CutPrefix(decl, "field:")
		if !ok || !is {
			continue
		}
		name := decl[strings.LastIndexAny(decl, " \t*")+1:]
		name, _, _ = strings.Cut(name, "[")
		var f field
		for _, kv := range strings.Split(rest, ";") {
			k, v, _ := strings.Cut(strings.TrimSpace(kv), ":")
			n, err := strconv.Atoi(v)
			switch {
			case err != nil:
			case k == "offset":
				f.offset = n
			case k == "size":
				f.size = n
			}
		}
		fields[name] = f
	}
	return fields
}

// online lists the processors.
func online() ([]int, error) {
	b, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil { // no sysfs
		var all []int
		for i := range runtime.NumCPU() {
			all = append(all, i)
		}
		return all, nil
	}
	var cpus []int
	for _, part := range strings.Split(strings.TrimSpace(string(b)), ",") {
		low, high, is := strings.Cut(part, "-")
		if !is {
			high = low
		}
		from, err1 := strconv.Atoi(low)
		to, err2 := strconv.Atoi(high)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("processors %q: %w", b, err)
		}
		for i := from; i <= to; i++ {
			cpus = append(cpus, i)
		}
	}
	return cpus, nil
}

// listen opens all tracepoints on one processor, with one ring for them.
func (s *Source) listen(cpu int) error {
	first := -1
	for i := range s.points {
		p := &s.points[i]
		attr := unix.PerfEventAttr{
			Type: unix.PERF_TYPE_TRACEPOINT, Config: p.id, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
			Sample:      1,
			Sample_type: unix.PERF_SAMPLE_TID | unix.PERF_SAMPLE_TIME | unix.PERF_SAMPLE_RAW,
			Bits:        unix.PerfBitUseClockID | unix.PerfBitWatermark | unix.PerfBitDisabled,
			Wakeup:      1,
			Clockid:     unix.CLOCK_MONOTONIC,
		}
		fd, err := unix.PerfEventOpen(&attr, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
		if err != nil {
			return fmt.Errorf("listen to tracepoint %s: %w", p.name, err)
		}
		s.fds = append(s.fds, fd)
		if p.filter != "" {
			if err := unix.IoctlSetString(fd, unix.PERF_EVENT_IOC_SET_FILTER, p.filter); err != nil {
				return fmt.Errorf("filter tracepoint %s: %w", p.name, err)
			}
		}
		if first < 0 {
			first = fd
			mem, err := unix.Mmap(fd, 0, (1+ringPages)*os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			if err != nil {
				return fmt.Errorf("map the ring of processor %d: %w", cpu, err)
			}
			s.rings = append(s.rings, ring{fd, mem})
		} else if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_SET_OUTPUT, first); err != nil {
			return fmt.Errorf("share the ring of processor %d: %w", cpu, err)
		}
		if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_ENABLE, 0); err != nil {
			return fmt.Errorf("turn tracepoint %s on: %w", p.name, err)
		}
	}
	return nil
}

// Wait waits until there may be events, or for so long.
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

// settled is when an event is surely in its ring: what is older on one processor
// than on another comes first.
const settled = time.Millisecond

// Read calls f for each event that is there, in the order of their times. An event
// is told a millisecond after it happened, at the earliest.
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

// The offsets of struct perf_event_mmap_page.
const (
	dataHead = 1024
	dataTail = 1032
)

func (s *Source) drain(r *ring, f func(Event)) {
	page := os.Getpagesize()
	data := r.mem[page:]
	head := (*uint64)(unsafe.Pointer(&r.mem[dataHead]))
	tail := (*uint64)(unsafe.Pointer(&r.mem[dataTail]))
	at, to := *tail, atomic.LoadUint64(head)
	for at < to {
		rec := s.record(data, at)
		if len(rec) < 8 {
			break
		}
		at += uint64(len(rec))
		switch binary.NativeEndian.Uint32(rec) {
		case unix.PERF_RECORD_SAMPLE:
			if ev, ok := s.event(rec[8:]); ok {
				f(ev)
			}
		case unix.PERF_RECORD_LOST:
			if len(rec) >= 24 {
				s.lost.Add(binary.NativeEndian.Uint64(rec[16:]))
			}
		}
	}
	atomic.StoreUint64(tail, at)
}

// record copies one record out of the ring, in which it may wrap round.
func (s *Source) record(data []byte, at uint64) []byte {
	copyAt := func(dst []byte, at uint64) {
		n := copy(dst, data[at%uint64(len(data)):])
		copy(dst[n:], data)
	}
	copyAt(s.rec[:8], at)
	size := int(binary.NativeEndian.Uint16(s.rec[6:]))
	if size < 8 || size > len(data) {
		return nil
	}
	copyAt(s.rec[:size], at)
	return s.rec[:size]
}

// event reads a sample: pid, tid, time, size of the raw data, raw data.
func (s *Source) event(b []byte) (ev Event, ok bool) {
	if len(b) < 20 {
		return Event{}, false
	}
	ev.PID = binary.NativeEndian.Uint32(b)
	ev.At = time.Duration(binary.NativeEndian.Uint64(b[8:]))
	raw := b[20:]
	if n := int(binary.NativeEndian.Uint32(b[16:])); n <= len(raw) {
		raw = raw[:n]
	}
	if len(raw) < 2 {
		return Event{}, false
	}
	id := uint64(binary.NativeEndian.Uint16(raw)) // common_type
	for i := range s.points {
		if p := &s.points[i]; p.id == id {
			p.fill(&ev, raw)
			return ev, true
		}
	}
	return Event{}, false
}

func (p *point) fill(ev *Event, raw []byte) {
	ev.Kind = p.kind
	family := p.num(raw, "family")
	ends := func(addr, addr6, port string) netip.AddrPort {
		name := addr
		if family == unix.AF_INET6 {
			name = addr6
		}
		f, ok := p.fields[name]
		if !ok || f.offset+f.size > len(raw) {
			return netip.AddrPort{}
		}
		a, _ := netip.AddrFromSlice(raw[f.offset : f.offset+f.size])
		return netip.AddrPortFrom(a.Unmap(), uint16(p.num(raw, port)))
	}
	ev.Local, ev.Remote = ends("saddr", "saddr_v6", "sport"), ends("daddr", "daddr_v6", "dport")
	ev.Cookie = p.num(raw, "sock_cookie")
	ev.Sock = p.num(raw, "skaddr") | p.num(raw, "sk")
	if e := int32(p.num(raw, "ret")); e < 0 {
		ev.Errno = unix.Errno(-e)
	} else {
		ev.Errno = unix.Errno(p.num(raw, "error"))
	}
}

// num reads a field, 0 if this kernel has none of that name.
func (p *point) num(raw []byte, name string) uint64 {
	f, ok := p.fields[name]
	if !ok || f.offset+f.size > len(raw) {
		return 0
	}
	switch b := raw[f.offset:]; f.size {
	case 2:
		return uint64(binary.NativeEndian.Uint16(b))
	case 4:
		return uint64(binary.NativeEndian.Uint32(b))
	case 8:
		return binary.NativeEndian.Uint64(b)
	}
	return 0
}
