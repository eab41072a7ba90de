// Package forwarder accepts connections and forwards each to an upstream, under the
// toxics of each direction. The end of one direction is passed on by itself, and so is
// a reset.
package forwarder

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/faultctl/faultctl/experiment/toxiproxy/toxics"
)

// Stream is a direction.
type Stream int

// The streams.
const (
	Upstream   Stream = iota // from the client to the upstream
	Downstream               // and back
)

func (s Stream) String() string { return [...]string{"upstream", "downstream"}[s] }

// Config is what a Forwarder is made of.
type Config struct {
	Listen   string // address and port; port 0: any; an empty host: all addresses
	Upstream string // address or name, and port

	// Lot is how the lot of the nth connection falls for a toxic: from 0 to 1.
	Lot func(nth, toxic uint64) float32

	Received, Sent *[2]atomic.Uint64 // bytes by Stream; they may be counted on elsewhere
}

// Forwarder is one that listens. Any goroutine may call its methods.
type Forwarder struct {
	cfg      Config
	listener net.Listener
	ctx      context.Context
	stop     context.CancelFunc
	toxics   [2]atomic.Pointer[[]toxics.Setting]

	mu     sync.Mutex
	closed bool
	count  uint64
	conns  map[*conn]struct{}
}

// Listen returns a Forwarder that accepts connections, with no toxics. The error is
// that of net.Listen.
func Listen(cfg Config) (*Forwarder, error) {
	// Keepalive probes of its own would keep devices on the client's side from
	// forgetting an idle connection.
	lc := net.ListenConfig{KeepAlive: -1}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(context.Background(), "tcp", cfg.Listen)
	if err != nil {
		return nil, err
	}
	f := &Forwarder{cfg: cfg, listener: l, conns: map[*conn]struct{}{}}
	f.ctx, f.stop = context.WithCancel(context.Background())
	for i := range f.toxics {
		f.toxics[i].Store(new([]toxics.Setting))
	}
	go f.accept()
	return f, nil
}

// Addr is where it listens.
func (f *Forwarder) Addr() net.Addr { return f.listener.Addr() }

// Close closes the listener and all connections, and waits for nobody.
func (f *Forwarder) Close() {
	f.mu.Lock()
	f.closed = true
	conns := f.conns
	f.conns = nil
	f.mu.Unlock()
	f.stop()
	f.listener.Close()
	for c := range conns {
		c.close()
	}
}

// Set puts toxics in force in one direction, in their order, for open connections too.
// It waits for none of them.
func (f *Forwarder) Set(s Stream, all []toxics.Setting) {
	f.toxics[s].Store(&all)
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		c.links[s].poke()
	}
}

// Open is the number of connections.
func (f *Forwarder) Open() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.conns)
}

func (f *Forwarder) accept() {
	for {
		c, err := f.listener.Accept()
		switch {
		case err == nil:
			go f.forward(c.(*net.TCPConn))
		case errors.Is(err, net.ErrClosed):
			return
		default: // such as no descriptors left
			select {
			case <-time.After(20 * time.Millisecond):
			case <-f.ctx.Done():
				return
			}
		}
	}
}

// forward connects a client, which was accepted first, with the upstream.
func (f *Forwarder) forward(client *net.TCPConn) {
	var d net.Dialer
	d.SetMultipathTCP(false)
	up, err := d.DialContext(f.ctx, "tcp", f.cfg.Upstream)
	if err != nil {
		client.Close()
		return
	}
	c := &conn{f: f, client: client, upstream: up.(*net.TCPConn)}
	f.mu.Lock()
	c.nth = f.count
	f.count++
	closed := f.closed
	if !closed {
		c.links[Upstream] = newLink(c, Upstream, c.client, c.upstream)
		c.links[Downstream] = newLink(c, Downstream, c.upstream, c.client)
		f.conns[c] = struct{}{}
	}
	f.mu.Unlock()
	if closed {
		c.close()
		return
	}
	go c.links[Downstream].run()
	c.links[Upstream].run()
}

// conn is a client's connection with the one to the upstream.
type conn struct {
	f                *Forwarder
	nth              uint64
	client, upstream *net.TCPConn
	links            [2]*link
	finished         atomic.Int32 // links
	once             sync.Once
	closed           atomic.Bool
}

// close closes both sides, which ends both links.
func (c *conn) close() {
	c.once.Do(func() {
		c.closed.Store(true)
		c.client.Close()
		c.upstream.Close()
		for _, l := range c.links {
			if l != nil {
				l.rouse()
			}
		}
		c.f.mu.Lock()
		delete(c.f.conns, c)
		c.f.mu.Unlock()
	})
}

// abort is close with a RST to both sides.
func (c *conn) abort() {
	c.client.SetLinger(0)
	c.upstream.SetLinger(0)
	c.close()
}

// finish notes that one link has passed its end on.
func (c *conn) finish() {
	if c.finished.Add(1) == 2 {
		c.close()
	}
}
