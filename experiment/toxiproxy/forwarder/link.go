package forwarder

import (
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/faultctl/faultctl/experiment/toxiproxy/toxics"
	"golang.org/x/sys/unix"
)

// link is one direction of a connection. One goroutine, in run, reads and writes. It
// waits with deadlines, which poke brings forward.
type link struct {
	c        *conn
	stream   Stream
	src, dst *net.TCPConn
	raw      syscall.RawConn // of src
	pipe     toxics.Pipe
	from     *[]toxics.Setting // what pipe was set from; nil: nothing yet

	buf    *[]byte // what was read last, if any
	n      int
	err    error
	readFD func(uintptr) bool // reads into buf

	wake chan struct{}

	closeBy time.Time // when the connection is closed although the receiver takes nothing

	mu              sync.Mutex
	poked           bool      // deadlines are past until arm sets them again
	reading, writes time.Time // deadlines of reads and writes; zero: none
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

var past = time.Unix(1, 0)

func newLink(c *conn, s Stream, src, dst *net.TCPConn) *link {
	l := &link{c: c, stream: s, src: src, dst: dst, wake: make(chan struct{}, 1)}
	// A buffer is taken when there is something to read, so that idle connections have
	// none.
	l.readFD = func(fd uintptr) bool {
		b := buffers.Get().(*[]byte)
		n, err := unix.Read(int(fd), *b)
		for err == unix.EINTR {
			n, err = unix.Read(int(fd), *b)
		}
		if err == unix.EAGAIN {
			buffers.Put(b)
			return false
		}
		l.buf, l.n, l.err = b, max(n, 0), err
		if err == nil && n == 0 {
			l.err = io.EOF
		}
		return true
	}
	return l
}

// poke has the link look at its toxics.
func (l *link) poke() {
	l.mu.Lock()
	l.poked = true
	l.src.SetReadDeadline(past)
	l.dst.SetWriteDeadline(past)
	l.mu.Unlock()
	l.rouse()
}

// rouse ends sleep.
func (l *link) rouse() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// arm sets the deadlines of what comes next. It reports false if the toxics may have
// changed.
func (l *link) arm(reading, writes time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.poked || !l.reading.Equal(reading) {
		l.reading = reading
		l.src.SetReadDeadline(reading)
	}
	if l.poked || !l.writes.Equal(writes) {
		l.writes = writes
		l.dst.SetWriteDeadline(writes)
	}
	was := l.poked
	l.poked = false
	return !was
}

// run forwards until the direction ends, or the connection is closed.
func (l *link) run() {
	for l.step() {
	}
}

// step does one thing, and reports false when the direction has ended.
func (l *link) step() bool {
	if l.c.closed.Load() {
		return false
	}
	l.adopt()
	now := time.Now()
	next, writes := l.pipe.Step(now), time.Time{}
	if l.pipe.Next() != nil {
		if !next.IsZero() { // a write has some time at least
			writes = now.Add(max(next.Sub(now), 5*time.Millisecond))
		}
		if l.pipe.Ended() >= toxics.Close {
			if l.closeBy.IsZero() {
				l.closeBy = now.Add(time.Second)
			}
			if writes = l.closeBy; now.After(writes) {
				l.c.abort()
				return false
			}
		}
	}
	if !l.arm(next, writes) {
		return true
	}
	switch {
	case l.pipe.Next() != nil:
		if !l.writeNext() {
			l.c.abort()
			return false
		}
	case l.pipe.Ended() != toxics.None:
		l.end(l.pipe.Ended())
		return false
	case l.pipe.Room() && l.err == nil:
		l.read()
	default:
		l.sleep(next)
	}
	return true
}

// adopt has the pipe follow the toxics of the forwarder.
func (l *link) adopt() {
	now := l.c.f.toxics[l.stream].Load()
	if now == l.from {
		return
	}
	l.pipe.Set(time.Now(), *now, func(id uint64) float32 { return l.c.f.cfg.Lot(l.c.nth, id) }, l.from == nil)
	l.from = now
}

// read reads once, and again as long as data pass straight on.
func (l *link) read() {
	for {
		if l.raw == nil {
			l.raw, _ = l.src.SyscallConn() // it fails for a nil connection only
		}
		l.buf, l.n, l.err = nil, 0, nil
		if err := l.raw.Read(l.readFD); err != nil {
			l.err = err
		}
		straight := l.take()
		if l.buf != nil {
			buffers.Put(l.buf)
			l.buf = nil
		}
		if !straight {
			return
		}
	}
}

// take passes on what was read, and reports whether all of it passed straight on.
func (l *link) take() bool {
	switch data := []byte(nil); {
	case errors.Is(l.err, os.ErrDeadlineExceeded):
		l.err = nil
		return false
	case l.err == io.EOF:
		l.pipe.End(time.Now(), toxics.Finish)
		return false
	case l.err != nil:
		l.pipe.End(time.Now(), toxics.Abort)
		return false
	default:
		data = (*l.buf)[:l.n]
		l.c.f.cfg.Received[l.stream].Add(uint64(l.n))
		l.adopt() // a toxic strikes all that is read when it is in force
		if l.pipe.Empty() {
			n, err := l.write(data)
			if err == nil {
				return true
			}
			if data = data[n:]; !errors.Is(err, os.ErrDeadlineExceeded) {
				l.c.abort() // reading and writing fail from now on
				return false
			}
		}
		l.pipe.Put(time.Now(), slices.Clone(data))
		return false
	}
}

func (l *link) write(data []byte) (int, error) {
	n, err := l.dst.Write(data)
	l.c.f.cfg.Sent[l.stream].Add(uint64(n))
	return n, err
}

// writeNext writes what the pipe has for as long as the deadline permits, and reports
// false if the receiver is gone.
func (l *link) writeNext() bool {
	n, err := l.write(l.pipe.Next())
	l.pipe.Wrote(n)
	return err == nil || errors.Is(err, os.ErrDeadlineExceeded)
}

// sleep waits until next, until poke, or until the connection is closed.
func (l *link) sleep(next time.Time) {
	var due <-chan time.Time
	if !next.IsZero() {
		t := time.NewTimer(time.Until(next))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-due:
	case <-l.wake:
	}
}

// end passes the end of the direction on.
func (l *link) end(e toxics.End) {
	switch e {
	case toxics.Finish:
		l.dst.CloseWrite()
		l.c.finish()
	case toxics.Close:
		l.dst.CloseWrite()
		l.drain()
		l.c.close()
	case toxics.Abort:
		if l.err != nil { // it was the source's: what it sent before arrives first
			l.drain()
		}
		l.c.abort()
	}
}

// drain waits until the receiver has acknowledged everything, a second at most: what
// is under way when a socket is closed while it has unread data is lost.
func (l *link) drain() {
	raw, err := l.dst.SyscallConn()
	if err != nil {
		return
	}
	for wait, until := 100*time.Microsecond, time.Now().Add(time.Second); time.Now().Before(until); wait = min(2*wait, 10*time.Millisecond) {
		unsent := 0
		if err := raw.Control(func(fd uintptr) { unsent, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }); err != nil || unsent == 0 {
			return
		}
		time.Sleep(wait)
	}
}
