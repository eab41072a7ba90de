// Package watchdog kills this process when it hangs.
package watchdog

import (
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Watchdog is a timer that lets traffic go on when the workers are stopped or stuck. A
// packet in the queue is lost to its TCP, which does not retransmit what it believes to
// be still in this host; so a process that is alive but does not read would hang every
// connection that it judges. The timer sends SIGKILL to this process unless it is reset
// in time. With the process its sockets, the table and the queue are removed, and TCP
// repairs the rest. Unlike a Go timer, it fires even while the process is stopped
// (SIGSTOP).
//
// It is reset only when all workers have kicked it: one stuck worker is enough to let
// it fire.
type Watchdog struct {
	id      int32
	limit   time.Duration
	workers int32
	missing atomic.Int32  // how many workers have not kicked it since it was last reset
	round   atomic.Uint32 // counts how often it was reset
}

// Handle lets one worker kick the watchdog. Only that worker uses it.
type Handle struct {
	*Watchdog
	round uint32        // the round after the one in which it last kicked
	at    time.Duration // when that was
}

// sigevent is struct sigevent of timer_create(2) on 64-bit Linux.
type sigevent struct {
	value  uint64
	signo  int32
	notify int32
	_      [48]byte
}

// New starts the timer for that many workers. With a negative limit it never fires.
func New(limit time.Duration, workers int) (*Watchdog, error) {
	d := &Watchdog{limit: limit, workers: int32(workers)}
	d.missing.Store(d.workers)
	if limit < 0 {
		return d, nil
	}
	ev := sigevent{signo: int32(unix.SIGKILL)} // SIGEV_SIGNAL: to the process
	_, _, errno := unix.RawSyscall(unix.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&ev)), uintptr(unsafe.Pointer(&d.id)))
	switch {
	case errno == unix.EAGAIN: // timer_create(2): what it takes is one of the user's pending signals
		return nil, fmt.Errorf("start the watchdog timer: this user's limit of pending signals is used up: raise it (ulimit -i, "+
			"LimitSIGPENDING= of a unit; %w)", errno)
	case errno != 0:
		return nil, fmt.Errorf("start the watchdog timer: %w", errno)
	}
	return d, d.settime(Timeout(d.limit))
}

// Timeout returns what the timer is set to for a limit. It is shorter than the limit by
// as long as a worker without work may take to kick it, so that the limit also holds
// for a worker that gets stuck right after its last kick.
func Timeout(limit time.Duration) time.Duration { return limit - limit/10 }

// Handle returns the Handle of one more worker. Each worker that New was told of needs
// one.
func (d *Watchdog) Handle() Handle { return Handle{Watchdog: d} }

// Kick resets the timer, if the other workers have kicked it too. now is any increasing
// clock of the worker. The timer is reset at most twenty times per limit, so a busy
// worker may call Kick for each batch.
func (p *Handle) Kick(now time.Duration) {
	d := p.Watchdog
	if d.limit < 0 || p.round != 0 && now-p.at < d.limit/20 {
		return
	}
	round := d.round.Load() + 1
	if p.round == round {
		return // it waits for others
	}
	p.round, p.at = round, now
	if d.missing.Add(-1) == 0 {
		d.missing.Store(d.workers) // nobody kicks twice in a round, so only this worker is here
		d.round.Add(1)
		d.settime(Timeout(d.limit))
	}
}

func (d *Watchdog) settime(limit time.Duration) error {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(limit))}
	_, _, errno := unix.RawSyscall6(unix.SYS_TIMER_SETTIME, uintptr(d.id), 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("timer_settime: %w", errno)
	}
	return nil
}

// Stop stops the timer.
func (d *Watchdog) Stop() {
	if d.limit >= 0 {
		unix.RawSyscall(unix.SYS_TIMER_DELETE, uintptr(d.id), 0, 0)
		d.limit = -1
	}
}

// Left returns how long it takes until the timer fires. It returns an error if the
// timer does not run because it was stopped.
func (d *Watchdog) Left() (time.Duration, error) {
	var spec unix.ItimerSpec
	_, _, errno := unix.RawSyscall(unix.SYS_TIMER_GETTIME, uintptr(d.id), uintptr(unsafe.Pointer(&spec)), 0)
	if errno != 0 {
		return 0, fmt.Errorf("timer_gettime: %w", errno)
	}
	return time.Duration(spec.Value.Nano()), nil
}
