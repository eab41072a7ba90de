package injector

import (
	"net/netip"
	"sync"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/injector/internal/tracepoint"
	"golang.org/x/sys/unix"
)

// tracing is what the kernel's tracepoints tell a run that a command is judged by: which
// sockets have taken a RST, and which calls have returned the error. They are to be had
// with CAP_PERFMON in the first user namespace only.
type tracing struct {
	source *tracepoint.Source
	stop   chan struct{}
	ended  sync.WaitGroup
}

// listen has the workers be told, if the kernel can and this process may. It costs each
// call of the host that sends or receives on a socket 0.2 µs.
func (i *Injector) listen(c *workers) *tracing {
	if !i.judges {
		return nil
	}
	source, err := tracepoint.Open(tracepoint.ReceivedReset, tracepoint.CallFailed)
	if err != nil {
		i.cfg.Logger.Debug("whether a call has returned an error is not known", "error", err)
		return nil
	}
	t := &tracing{source: source, stop: make(chan struct{})}
	t.ended.Go(func() {
		for more := true; more; {
			select {
			case <-t.stop:
				time.Sleep(tellDelay)
				more = false
			default:
				if err := source.Wait(idleWait); err != nil {
					more = false
				}
			}
			source.Read(func(ev tracepoint.Event) {
				for _, w := range c.all {
					w.post(func() { w.traced(ev) })
				}
			})
		}
	})
	return t
}

// tellDelay is longer than an event takes to be told.
const tellDelay = 3 * time.Millisecond

// close waits until the workers have been told what has happened so far.
func (t *tracing) close() error {
	if t == nil {
		return nil
	}
	close(t.stop)
	t.ended.Wait()
	return t.source.Close()
}

// toldSocket is a socket that has taken a RST.
type toldSocket struct {
	flow *entry
	end  faults.Direction
}

// traced takes into account what a tracepoint tells. They tell of all namespaces: a
// socket is the connection's if the kernel gave it the same cookie before.
func (w *worker) traced(ev tracepoint.Event) {
	switch ev.Kind {
	case tracepoint.ReceivedReset:
		delete(w.reset, ev.Sock) // a socket's memory is another one's once it is closed
		f, end := w.socketOf(ev.Local, ev.Remote, ev.Cookie)
		if f == nil {
			return
		}
		f.track.Kernel(w.clock(), end.From(), outcome.ReceivedReset)
		if w.reset == nil || len(w.reset) >= mostAsked {
			w.reset = map[uint64]toldSocket{}
		}
		w.reset[ev.Sock] = toldSocket{f, end}
	case tracepoint.CallFailed:
		s, known := w.reset[ev.Sock]
		delete(w.reset, ev.Sock)
		if known && ev.Errno == unix.ECONNRESET && // others come without a RST as well, from whoever has the memory now
			s.flow.track != nil && !s.flow.track.settled {
			s.flow.track.Kernel(w.clock(), s.end.From(), outcome.ToldByCall)
		}
	}
}

// socketOf is the flow, and its end, that a socket belongs to, if what strikes on it came
// to is not settled.
func (w *worker) socketOf(local, remote netip.AddrPort, cookie uint64) (*entry, faults.Direction) {
	f, end := w.flows.flows[flowKey{local, remote}], faults.Original
	if f == nil {
		f, end = w.flows.flows[flowKey{remote, local}], faults.Reply
	}
	if f == nil || f.track == nil || !f.track.struck || f.track.settled || cookie == 0 || f.track.cookie[end] != cookie {
		return nil, end
	}
	return f, end
}
