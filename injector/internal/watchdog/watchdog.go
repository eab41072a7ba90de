// Package watchdog ends this process when it stands still.
package watchdog

import (
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Watchdog is a timer that opens the way when the workers are stopped or stuck. A
// packet in the queue is lost to its TCP, which does not retransmit what it
// believes to be still in this host; so a process that lives but does not read
// would hang every connection that it judges. The timer sends SIGKILL to this
// process unless it is set back in time, and with the process go its sockets, the
// table, and the queue; TCP then repairs the rest. It fires while the process is
// stopped (SIGSTOP) too, which no timer of Go's would.
//
// It is set back only when all workers have kicked it: one that is stuck is enough
// for the end, whatever the others do.
type Watchdog struct {
	id      int32
	limit   time.Duration
	workers int32
	missing atomic.Int32  // how many have not kicked it since it was last set back
	round   atomic.Uint32 // counts how often it was
}

// Handle is what one worker kicks the watchdog by. Only that worker uses it.
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

// New starts the timer for that many workers. A negative limit makes one that never
// fires.
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

// Timeout is what the timer is set to for a limit. It is less than that by as long as a
// worker without work may take to kick it, so that the limit holds for one that was
// stuck right after its last kick.
func Timeout(limit time.Duration) time.Duration { return limit - limit/10 }

// Handle returns what one more worker kicks the watchdog by. Each of the workers
// that New was told of needs one.
func (d *Watchdog) Handle() Handle { return Handle{Watchdog: d} }

// Kick sets the timer back, if the other workers have kicked it too. now is any
// clock of the worker that grows; the timer is touched at most twenty times per
// limit, so a busy worker may call it for each batch.
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
		d.missing.Store(d.workers) // nobody kicks twice in a round: nobody is here but us
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

// Stop ends the timer.
func (d *Watchdog) Stop() {
	if d.limit >= 0 {
		unix.RawSyscall(unix.SYS_TIMER_DELETE, uintptr(d.id), 0, 0)
		d.limit = -1
	}
}

// Left returns how long it is until the timer fires. It is an error if the timer
// does not run: Stop has ended it.
func (d *Watchdog) Left() (time.Duration, error) {
	var spec unix.ItimerSpec
	_, _, errno := unix.RawSyscall(unix.SYS_TIMER_GETTIME, uintptr(d.id), uintptr(unsafe.Pointer(&spec)), 0)
	if errno != 0 {
		return 0, fmt.Errorf("timer_gettime: %w", errno)
	}
	return time.Duration(spec.Value.Nano()), nil
}
