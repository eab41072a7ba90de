package cli

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// errUnread is why nothing more is written to a pipe.
var errUnread = errors.New("its reader has stopped reading")

// unreadFor is how long a pipe may stay full once there is nothing left to do but to
// write to it.
const unreadFor = 2 * time.Second

// pipeWriter writes to a pipe or a socket. While there is work to do, a reader may pause
// for as long as it likes. Once it is over, a reader that does not go on to read must not
// keep this process: after unreadFor each Write fails.
type pipeWriter struct {
	f     *os.File
	over  atomic.Bool
	given bool // up
}

// patient makes a pipeWriter of a pipe or a socket; of anything else it returns w and nil.
func patient(w io.Writer) (io.Writer, *pipeWriter) {
	f, is := w.(*os.File)
	if !is {
		return w, nil
	}
	if info, err := f.Stat(); err != nil || info.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0 {
		return w, nil
	}
	p := &pipeWriter{f: f}
	return p, p
}

// finish says that there is nothing left to do. p may be nil.
func (p *pipeWriter) finish() {
	if p != nil {
		p.over.Store(true)
	}
}

// Write may be called by one goroutine at a time.
func (p *pipeWriter) Write(b []byte) (n int, err error) {
	const room = 4096 // PIPE_BUF: a pipe that can be written to has room for so much (pipe(7))
	for n < len(b) && err == nil {
		if err = p.wait(); err != nil {
			break
		}
		var some int
		some, err = p.f.Write(b[n:min(n+room, len(b))])
		n += some
	}
	return n, err
}

// wait waits for room.
func (p *pipeWriter) wait() error {
	const look = 50 * time.Millisecond
	for waited := time.Duration(0); !p.given; {
		fds := []unix.PollFd{{Fd: int32(p.f.Fd()), Events: unix.POLLOUT}}
		n, err := unix.Poll(fds, int(look.Milliseconds()))
		switch {
		case n > 0, err != nil && err != unix.EINTR: // the write says what is wrong
			return nil
		case err == nil && p.over.Load():
			if waited += look; waited >= unreadFor {
				p.given = true
			}
		}
	}
	return errUnread
}
