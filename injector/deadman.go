package injector

import (
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// defaultDeadMan has a connection go on within 4 s whose packet was in the queue.
// TCP doubles its patience (RFC 6298), so the first retransmission behind the end
// of this process comes at most as long after it again, and one RTO: 3 s and the
// RTO in all, where a limit of 3 s makes 6 s. A worker that is well feeds the timer
// ten times a second; it was never seen to need more than 0.6 s, while 200 other
// threads wanted its two processors, or while it had a hundredth of one.
const defaultDeadMan = 1500 * time.Millisecond

// deadMan is the timer that opens the way when the workers are stopped or
// stuck. A packet in the queue is lost to its TCP, which does not retransmit
// what it believes to be still in this host; so a process that lives but does
// not read would hang every connection that it judges. The timer sends SIGKILL
// to this process unless it is set back in time, and with the process go its
// sockets, the table, and the queue; TCP then repairs the rest. It fires while
// the process is stopped (SIGSTOP) too, which no timer of Go's would.
//
// It is set back only when all workers have fed it: one that is stuck is enough
// for the end, whatever the others do.
type deadMan struct {
	id      int32
	limit   time.Duration
	workers int32
	missing atomic.Int32  // how many have not fed it since it was last set back
	round   atomic.Uint32 // counts how often it was
}

// portion is what one worker knows of the timer.
type portion struct {
	*deadMan
	round uint32        // the round after the one in which it last fed
	at    time.Duration // when that was
}

// sigevent is struct sigevent of timer_create(2) on 64-bit Linux.
type sigevent struct {
	value  uint64
	signo  int32
	notify int32
	_      [48]byte
}

// newDeadMan starts the timer for so many workers. A limit that is negative
// makes one that never fires.
func newDeadMan(limit time.Duration, workers int) (*deadMan, error) {
	d := &deadMan{limit: limit, workers: int32(workers)}
	d.missing.Store(d.workers)
	if limit < 0 {
		return d, nil
	}
	ev := sigevent{signo: int32(unix.SIGKILL)} // SIGEV_SIGNAL: to the process
	_, _, errno := unix.RawSyscall(unix.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&ev)), uintptr(unsafe.Pointer(&d.id)))
	switch {
	case errno == unix.EAGAIN: // timer_create(2): what it takes is one of the user's pending signals
		return nil, fmt.Errorf("start the dead man's timer: this user's limit of pending signals is used up: raise it (ulimit -i, "+
			"LimitSIGPENDING= of a unit; %w)", errno)
	case errno != 0:
		return nil, fmt.Errorf("start the dead man's timer: %w", errno)
	}
	return d, d.settime(d.fuse())
}

// fuse is what the timer is set to. It is less than the limit by as long as a
// worker without work may take to feed it, so that the limit holds for one that
// was stuck right after it had.
func (d *deadMan) fuse() time.Duration { return d.limit - d.limit/10 }

// feed sets the timer back, if the other workers have done so too. now is any
// clock of the worker that grows; the timer is touched at most twenty times
// per limit, so a busy worker may call it for each batch.
func (p *portion) feed(now time.Duration) {
	d := p.deadMan
	if d.limit < 0 || p.round != 0 && now-p.at < d.limit/20 {
		return
	}
	round := d.round.Load() + 1
	if p.round == round {
		return // it waits for others
	}
	p.round, p.at = round, now
	if d.missing.Add(-1) == 0 {
		d.missing.Store(d.workers) // nobody feeds twice in a round: nobody is here but us
		d.round.Add(1)
		d.settime(d.fuse())
	}
}

func (d *deadMan) settime(limit time.Duration) error {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(limit))}
	_, _, errno := unix.RawSyscall6(unix.SYS_TIMER_SETTIME, uintptr(d.id), 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("timer_settime: %w", errno)
	}
	return nil
}

// stop ends the timer.
func (d *deadMan) stop() {
	if d.limit >= 0 {
		unix.RawSyscall(unix.SYS_TIMER_DELETE, uintptr(d.id), 0, 0)
		d.limit = -1
	}
}
