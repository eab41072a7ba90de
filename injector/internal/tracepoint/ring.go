package tracepoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ring is the memory that the kernel shares with this process for one processor.
type ring struct {
	fd  int
	mem []byte
}

const ringPages = 16 // pages of data; a power of two

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

// listen opens all tracepoints on one processor, with one ring for all.
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

// record copies one record out of the ring, in which it may wrap around.
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
