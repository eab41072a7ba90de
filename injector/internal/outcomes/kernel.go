package outcomes

import (
	"errors"
	"net/netip"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/injector/internal/exitwatch"
	"github.com/faultctl/faultctl/injector/internal/sign"
	"github.com/faultctl/faultctl/injector/internal/sockdiag"
)

// Kernel is what the kernel knows beyond packets. Any goroutine may use it.
type Kernel interface {
	// Socket asks for the socket of a connection from local to remote, as the socket knows
	// them. It takes 5 µs.
	Socket(local, remote netip.AddrPort) (Socket, error)

	// Left reports whether a segment with those numbers got past all rules of this host. It
	// takes 20 µs.
	Left(seq, ack uint32) (bool, error)
}

// Socket is a socket of this host.
type Socket struct {
	State  SocketState
	Cookie uint64 // names it for as long as the host runs; 0 if there is none
}

// SocketState is the state of a socket, as far as it matters here.
type SocketState uint8

// The states.
const (
	Alive  SocketState = iota
	Orphan             // no process has it any more
	Gone               // there is none, or it is closed or in TIME_WAIT
)

// RealKernel asks the kernel: diag for sockets, table for what has left.
func RealKernel(diag *sockdiag.Conn, table interface {
	Left(seq, ack uint32) (bool, error)
}) Kernel {
	return &realKernel{diag, table}
}

type realKernel struct {
	diag  *sockdiag.Conn
	table interface {
		Left(seq, ack uint32) (bool, error)
	}
}

func (k *realKernel) Left(seq, ack uint32) (bool, error) { return k.table.Left(seq, ack) }

func (k *realKernel) Socket(local, remote netip.AddrPort) (Socket, error) {
	s, err := k.diag.Ask(local, remote)
	switch {
	case errors.Is(err, sockdiag.ErrNone):
		return Socket{State: Gone}, nil
	case err != nil:
		return Socket{State: Gone}, err
	case s.State == sockdiag.TimeWait || s.State == sockdiag.Close:
		return Socket{Gone, s.Cookie}, nil
	case s.Orphaned():
		return Socket{Orphan, s.Cookie}, nil
	}
	return Socket{Alive, s.Cookie}, nil
}

// Mark is set in the priority of what goes on in place of a segment until the rules
// behind all others have seen it. No signal of a verdict has that bit, and no sign.
const Mark = 1 << 31

// Signs are the signs by which the rules behind all others know what is ours. They are
// those of all runs with that tag: a run behind ours may have held a segment of ours, and
// have sent it again as its own.
func Signs(tag sign.Tag) []exitwatch.Sign {
	return []exitwatch.Sign{{Mask: Mark, Value: Mark, Clear: Mark}, {Mask: sign.Mask, Value: tag.Of(0)}}
}

// question asks the kernel what became of a segment that an end was to accept.
type question struct {
	conn          *Conn
	end           faults.Direction // in which it sends
	local, remote netip.AddrPort
	meant         meant
	sock          bool // ask for its socket
	last          bool // what was not seen to leave by now has not left

	left, leftKnown bool
	state           SocketState
	stateKnown      bool
}

// mostAsked is how many segments are asked about when a run ends, and how many sockets
// that have taken a RST are remembered.
const mostAsked = 4096

// questions appends what is to be asked about a connection. last says that what was not
// seen to leave before is asked about again.
func (c *Conn) questions(qs []question, last bool) []question {
	for i := range c.ends {
		e := &c.ends[i]
		m := &e.meant
		if m.asked != askDue && !(last && m.asked == askUnseen) {
			continue
		}
		q := question{conn: c, end: faults.Direction(i), meant: *m, sock: e.found, last: last}
		q.local, q.remote = c.flow.SocketEnds(q.end)
		m.asked = askedEnough
		qs = append(qs, q)
	}
	return qs
}

// askAll answers the questions.
func askAll(k Kernel, qs []question) {
	for i := range qs {
		q := &qs[i]
		if q.meant.kind != anICMP {
			left, err := k.Left(uint32(q.meant.seq), uint32(q.meant.ack))
			q.left, q.leftKnown = left, err == nil
		}
		if q.sock {
			s, err := k.Socket(q.local, q.remote)
			q.state, q.stateKnown = s.State, err == nil
		}
	}
}

// ask asks beside the packet path, has the worker take the answers into account, and
// then do what comes next.
func (w *Watcher) ask(qs []question, next func()) {
	if len(qs) == 0 || w.Kernel == nil {
		return
	}
	w.Engine.Beside(func() { askAll(w.Kernel, qs) }, func() {
		for i := range qs {
			qs[i].apply(w.Clock())
		}
		if next != nil {
			next()
		}
	})
}

// apply takes an answer into account.
func (q *question) apply(now time.Duration) {
	c := q.conn
	if !c.follows() {
		return
	}
	side := q.end.From()
	switch {
	case !q.leftKnown:
	case q.left:
		c.Kernel(now, side, outcome.LeftHost)
	case q.last:
		c.Kernel(now, side, outcome.Eaten)
		return
	default:
		c.ends[q.end].meant.asked = askUnseen // a run behind ours may hold it
	}
	switch {
	case !q.stateKnown || q.leftKnown && !q.left:
	case q.state == Gone:
		c.Kernel(now, side, outcome.SocketGone)
	case q.state == Alive && q.meant.kind == aRST && q.left:
		c.Kernel(now, side, outcome.SocketAlive)
	}
}
