package outcomes

import (
	"sync"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/injector/internal/tracepoint"
	"golang.org/x/sys/unix"
)

// Listener hands on what the kernel's tracepoints tell: which sockets have taken a RST,
// and which calls have returned the error.
type Listener struct {
	source *tracepoint.Source
	stop   chan struct{}
	ended  sync.WaitGroup
}

// Listen calls tell for each event, on a goroutine of its own, until Close. It costs each
// call of the host that sends or receives on a socket 0.2 µs. It needs CAP_PERFMON in the
// first user namespace.
func Listen(tell func(tracepoint.Event)) (*Listener, error) {
	source, err := tracepoint.Open(tracepoint.ReceivedReset, tracepoint.CallFailed)
	if err != nil {
		return nil, err
	}
	l := &Listener{source: source, stop: make(chan struct{})}
	l.ended.Go(func() {
		for more := true; more; {
			select {
			case <-l.stop:
				time.Sleep(tellDelay)
				more = false
			default:
				if err := source.Wait(100 * time.Millisecond); err != nil {
					more = false
				}
			}
			source.Read(tell)
		}
	})
	return l, nil
}

// tellDelay is longer than it takes the kernel to tell an event.
const tellDelay = 3 * time.Millisecond

// Close waits until tell has been called for what has happened so far. l may be nil.
func (l *Listener) Close() error {
	if l == nil {
		return nil
	}
	close(l.stop)
	l.ended.Wait()
	return l.source.Close()
}

// resetSocket is a socket that has taken a RST.
type resetSocket struct {
	conn *Conn
	end  faults.Direction
}

// Traced takes into account what a tracepoint tells. Tracepoints tell of all network
// namespaces: a socket is the connection's if the kernel gave it the same cookie before.
func (w *Watcher) Traced(ev tracepoint.Event) {
	switch ev.Kind {
	case tracepoint.ReceivedReset:
		delete(w.resets, ev.Sock) // once a socket is closed, another one may get its memory
		c, end := w.socketOf(ev)
		if c == nil {
			return
		}
		c.Kernel(w.Clock(), end.From(), outcome.ReceivedReset)
		if w.resets == nil || len(w.resets) >= mostAsked {
			w.resets = map[uint64]resetSocket{}
		}
		w.resets[ev.Sock] = resetSocket{c, end}
	case tracepoint.CallFailed:
		s, known := w.resets[ev.Sock]
		delete(w.resets, ev.Sock)
		// Other errors come without a RST as well, from the socket that has the memory now.
		if known && ev.Errno == unix.ECONNRESET && s.conn.follows() {
			s.conn.Kernel(w.Clock(), s.end.From(), outcome.ToldByCall)
		}
	}
}

// socketOf returns the struck connection whose socket the event is about, and the socket's
// end of it. It returns nil if there is none whose outcome is open.
func (w *Watcher) socketOf(ev tracepoint.Event) (*Conn, faults.Direction) {
	c, end := w.Engine.Conn(ev.Local, ev.Remote), faults.Original
	if c == nil {
		c, end = w.Engine.Conn(ev.Remote, ev.Local), faults.Reply
	}
	if !c.follows() || !c.struck || ev.Cookie == 0 || c.ends[end].cookie != ev.Cookie {
		return nil, end
	}
	return c, end
}

// Prepare reads, once for the process, what Listen has to know of the tracepoints.
func Prepare() error { return tracepoint.Prepare() }
