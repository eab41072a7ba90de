package injector

import (
	"errors"
	"net/netip"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/injector/internal/exitwatch"
	"github.com/faultctl/faultctl/injector/internal/nft"
	"github.com/faultctl/faultctl/injector/internal/sign"
	"github.com/faultctl/faultctl/injector/internal/sockdiag"
)

// localSock is the state of a socket of this host.
type localSock uint8

const (
	sockAlive  localSock = iota
	sockOrphan           // no process has it any more
	sockGone             // it is in TIME_WAIT, or closed
)

// kernelAsker is what the kernel knows beyond packets: real, or a fake in tests. Any
// goroutine may use it.
type kernelAsker interface {
	// socket asks for the socket of a connection from local to remote, as it knows
	// them. The cookie names it for as long as the host runs. It takes 5 µs.
	socket(local, remote netip.AddrPort) (s localSock, cookie uint64, there bool, err error)

	// left reports whether a segment with those numbers got through all rules of this
	// host. It takes 20 µs.
	left(seq, ack uint32) (bool, error)
}

// asker is the kernelAsker of a real run.
type asker struct {
	diag *sockdiag.Conn
	ask  *nft.Table
}

func (a *asker) socket(local, remote netip.AddrPort) (localSock, uint64, bool, error) {
	s, err := a.diag.Ask(local, remote)
	switch {
	case errors.Is(err, sockdiag.ErrNone):
		return sockGone, 0, false, nil
	case err != nil:
		return sockGone, 0, false, err
	case s.State == sockdiag.TimeWait || s.State == sockdiag.Close:
		return sockGone, s.Cookie, true, nil
	case s.Orphaned():
		return sockOrphan, s.Cookie, true, nil
	}
	return sockAlive, s.Cookie, true, nil
}

func (a *asker) left(seq, ack uint32) (bool, error) { return a.ask.Left(seq, ack) }

// leavesTag is set in the priority of what goes on in a verdict's place until the rules
// behind all others have seen it. No signal has that bit, and no sign.
const leavesTag = 1 << 31

// leavingSigns are the signs by which those rules know what is ours. They are those of
// all runs: one behind ours may have held a segment of ours, and sent it again as its own.
func leavingSigns(tag sign.Tag) []exitwatch.Sign {
	return []exitwatch.Sign{{Mask: leavesTag, Value: leavesTag, Clear: leavesTag}, {Mask: sign.Mask, Value: tag.Of(0)}}
}

// question asks the kernel what became of a segment that an end was to accept.
type question struct {
	flow          *entry
	end           faults.Direction // in which it sends
	local, remote netip.AddrPort
	meant         meant
	sock          bool // ask for its socket
	last          bool // what was not seen to leave has not left

	left, leftKnown bool
	there, known    bool
	state           localSock
}

// mostAsked is how many segments are asked about when a run ends.
const mostAsked = 4096

// questions appends what is to be asked about a flow. The last time that is asked about
// which was not seen to leave before.
func (f *entry) questions(qs []question, last bool) []question {
	t := f.track
	for dir := range t.meant {
		m := &t.meant[dir]
		if !m.due && !(last && m.notPassed) {
			continue
		}
		q := question{flow: f, end: faults.Direction(dir), meant: *m, last: last}
		q.local, q.remote = f.socketEnds(q.end)
		q.sock = t.sock[dir] == sockFound
		m.due, m.notPassed = false, false
		qs = append(qs, q)
	}
	return qs
}

// askAll answers the questions.
func askAll(k kernelAsker, qs []question) {
	for i := range qs {
		q := &qs[i]
		var err error
		if !q.meant.icmp {
			q.left, err = k.left(uint32(q.meant.seq), uint32(q.meant.ack))
			q.leftKnown = err == nil
		}
		if q.sock {
			q.state, _, q.there, err = k.socket(q.local, q.remote)
			q.known = err == nil
		}
	}
}

// askKernel asks beside the packet path, has the worker take the answers into account, and
// then do what comes next.
func (w *worker) askKernel(qs []question, next func()) {
	if len(qs) == 0 || w.kernel == nil {
		return
	}
	w.changing++
	go func() {
		askAll(w.kernel, qs)
		w.post(func() {
			w.changing--
			for i := range qs {
				qs[i].apply(w.clock())
			}
			if next != nil {
				next()
			}
		})
	}()
}

// apply takes an answer into account.
func (q *question) apply(now time.Duration) {
	t := q.flow.track
	if t == nil || t.settled {
		return
	}
	side, m := q.end.From(), &t.meant[q.end]
	switch {
	case !q.leftKnown:
	case q.left:
		t.Kernel(now, side, outcome.LeftHost)
	case q.last:
		t.Kernel(now, side, outcome.Eaten)
		return
	default:
		m.notPassed = true // a run behind ours may hold it
	}
	switch {
	case !q.known || q.leftKnown && !q.left:
	case !q.there || q.state == sockGone:
		t.Kernel(now, side, outcome.SocketGone)
	case q.state == sockAlive && q.meant.rst && q.left:
		t.Kernel(now, side, outcome.SocketAlive)
	}
}
