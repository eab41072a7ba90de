package outcomes

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/features"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/faults/packet"
	"golang.org/x/sys/unix"
)

// Watcher follows the connections of one worker, see the package. Its exported fields are
// set before it is used, and not changed afterwards. Only the worker may use it.
type Watcher struct {
	Engine Engine
	Clock  func() time.Duration // since the rules went in
	Kernel Kernel               // nil: it cannot be asked

	// Judged says that a command is judged by the run: all segments of a chosen connection
	// are seen until the connection ends, and what the application does later counts.
	Judged bool

	// Mark is set in the priority of what goes on in place of a segment, so that the rules
	// behind all others know it: see Mark. 0: verdicts cannot set it.
	Mark uint32

	// Most is how many struck connections wait at most for what else may be learned of
	// them, in each of the two stages of that. When there are more, the outcome of the
	// oldest is settled as it is, and Early counts it. 0: any number.
	Most  int
	Early *atomic.Uint64

	// Signed counts connections that were left alone because their segments are signed.
	Signed *atomic.Uint64

	caughtUp               time.Duration // see CaughtUp
	asks, settles, givesUp queue         // of connections that are looked at later
	lost                   lostAnswers
	resets                 map[uint64]resetSocket // by the socket's address in the kernel
}

// Engine is what a Watcher needs from the worker. All of it is called by the worker's own
// goroutine.
type Engine interface {
	// Conn returns what is known of a connection, or nil.
	Conn(client, server netip.AddrPort) *Conn

	// Faults returns how many faults judge the connection, and Tally the sums of one.
	Faults(Flow) int
	Tally(f Flow, fault int) *Tally

	// Armed reports whether a fault of the connection may strike without a segment: at an
	// alarm, or after the silence that Waits returns.
	Armed(Flow) bool

	// Alarmed reports whether a fault of the connection has an alarm set: if it has
	// struck already, it is still at work.
	Alarmed(Flow) bool

	// Waits returns the silence that a fault waits for.
	Waits(f Flow, fault int) Wait

	// Settled is told of each outcome that was added to a tally.
	Settled(f Flow, fault int, o outcome.Outcome)

	// Rest is told that nothing is due for the connection here: it may be parked, if its
	// Conn is not Open. A Conn that is Finished is not needed any more.
	Rest(f Flow, now time.Duration)

	// Beside runs ask on another goroutine, and then on the worker.
	Beside(ask, then func())
}

// Wait is the silence that a fault waits for.
type Wait struct {
	After    time.Duration // 0: it does not wait for any
	DataOnly bool          // segments without payload do not end the silence
}

// Met notes where a segment was seen: at which hook, and whether it came by loopback. It
// asks the kernel for a local socket where an answer may be needed later, because a
// connection that the kernel translates is known to the socket by other names: only a
// socket that was found can be gone later.
func (w *Watcher) Met(c *Conn, hook uint8, byLoopback bool, dir faults.Direction) {
	if c == nil {
		return
	}
	c.met(hook, byLoopback, dir)
	if e := &c.ends[dir]; e.local && !e.sought && w.Kernel != nil && (w.Judged || w.Engine.Armed(c.flow)) {
		w.seek(c, dir)
	}
}

// seek asks the kernel for the socket of a local end.
func (w *Watcher) seek(c *Conn, dir faults.Direction) (s Socket, err error) {
	e := &c.ends[dir]
	e.sought = true
	local, remote := c.flow.SocketEnds(dir)
	if s, err = w.Kernel.Socket(local, remote); err == nil && s.State != Gone {
		e.found, e.cookie = true, s.Cookie
	}
	return s, err
}

// MayStrike reports whether the faults may do what they decided. They may not if it is the
// first strike and either the connection is closed, by the word of the kernel, or its
// segments are signed (TCP-MD5, TCP-AO) and theirs would not be. begins says that the
// connection has only just begun, so that the kernel need not be asked whether it is closed.
// If a local end is to be sent something, and Met had no reason to seek its socket, the
// kernel is asked for it now: afterwards it would be too late, see Met.
func (w *Watcher) MayStrike(c *Conn, d *Decision, begins bool, now time.Duration) bool {
	if c == nil || c.struck || c.settled || c.finished || c.alone || !d.Acts() {
		return true
	}
	if c.signed && d.forges() {
		c.alone = true
		w.Signed.Add(1)
		return false
	}
	if w.Kernel == nil {
		return true
	}
	for i := range c.ends {
		dir := faults.Direction(i)
		var s Socket
		var err error
		switch e := &c.ends[dir]; {
		case e.found && !begins:
			local, remote := c.flow.SocketEnds(dir)
			s, err = w.Kernel.Socket(local, remote)
		case e.local && !e.sought && d.sendsTo(dir.From()):
			s, err = w.seek(c, dir)
		default:
			continue
		}
		switch {
		case err != nil:
		case s.State == Gone && !c.ends[dir].found: // its names are translated
		case s.State == Gone:
			c.Kernel(now, faults.Both, outcome.NoSocket)
			c.alone = true
			c.probed |= d.bit()
			return false
		case s.State == Orphan:
			c.Kernel(now, dir.From(), outcome.Orphaned)
		case s.State == Alive:
			c.Kernel(now, dir.From(), outcome.Owned)
		}
	}
	return true
}

// CaughtUp says that no segment waited for the worker then: whatever is handed over later
// has come since.
func (w *Watcher) CaughtUp(at time.Duration) { w.caughtUp = at }

// Segment takes a segment into account, and what the faults decided about it.
func (w *Watcher) Segment(c *Conn, dir faults.Direction, seg packet.Segment, d *Decision, now time.Duration) {
	if fate := d.fate(); w.segment(c, dir, seg, fate, now) && d.acts(fate) {
		w.strike(c, d, now)
	}
}

// Passed takes a segment into account about which no fault was asked.
func (w *Watcher) Passed(c *Conn, dir faults.Direction, seg packet.Segment, now time.Duration) {
	w.segment(c, dir, seg, features.Passed, now)
}

// segment reports whether anything is still to be found out about the connection.
func (w *Watcher) segment(c *Conn, dir faults.Direction, seg packet.Segment, fate features.Fate, now time.Duration) bool {
	if c == nil || c.finished || c.settled && !w.Judged {
		return false
	}
	c.Waited = now - w.caughtUp
	c.Segment(now, dir, seg, fate)
	if w.Judged {
		w.again(c, dir)
	}
	return true
}

// Alarm takes into account what the faults decided when no segment was at hand.
func (w *Watcher) Alarm(c *Conn, d *Decision, now time.Duration) { w.strike(c, d, now) }

func (w *Watcher) strike(c *Conn, d *Decision, now time.Duration) {
	if !c.follows() || d.Observes {
		return
	}
	for _, n := range d.Effects.Notes {
		c.Strike(now, n.Action, n.To)
	}
	o := c.Outcome(now, faults.Both)
	switch {
	case o.Struck:
		c.by |= d.bit()
	case o.Why == outcome.ClosedBefore || len(d.Effects.Notes) == 0:
		c.probed |= d.bit()
	}
	if !o.Struck || c.struck {
		return
	}
	c.struck, c.struckAt, c.fresh = true, now, true
	w.lost.add(c)
}

// Conclude comes after a strike was reported. It settles the outcome at once if the
// verdict was all there was to the strike, and nothing can change what came of it;
// otherwise Due does, when more is known. leaves says that something of the strike has yet
// to leave this host.
func (w *Watcher) Conclude(c *Conn, leaves bool, now time.Duration) {
	if c != nil && c.fresh {
		w.conclude(c, leaves, now)
	}
}

func (w *Watcher) conclude(c *Conn, leaves bool, now time.Duration) {
	c.fresh = false
	if o := c.outcome(now, w.Judged); o.Known() && !o.AnswerLost && !leaves {
		w.settle(c, o, now)
		return
	}
	w.later(&w.settles, c, now)
}

// Replaced takes into account that seg goes on in place of the segment at hand. It
// returns the bits that the verdict must set in the packet's priority: see Mark.
func (w *Watcher) Replaced(c *Conn, dir faults.Direction, seg packet.Segment, now time.Duration) (mark uint32) {
	if !c.follows() || !c.struck {
		return 0
	}
	c.Replaced(now, dir, seg)
	if w.Mark == 0 {
		return 0
	}
	w.await(c, dir, meantBy(seg), now)
	return w.Mark
}

// Sent takes into account that a packet was handed to the raw socket, with the error that
// this gave: a packet of our own making, or one of the connection's that was held.
func (w *Watcher) Sent(c *Conn, to faults.Direction, forged bool, pkt []byte, err error) {
	if !c.follows() {
		return
	}
	now := w.Clock()
	if !forged {
		if err != nil && refused(err) {
			c.SendFailed(now, to.To())
		}
		return
	}
	if seg, e := packet.Parse(pkt); e == nil {
		c.Forged(now, to, seg)
		if c.struck && err == nil && seg.Flags().Any(packet.RST|packet.FIN) {
			w.await(c, to, meantBy(seg), now)
		}
	} else if c.struck && err == nil {
		w.await(c, to, meant{kind: anICMP}, now)
	}
	if err != nil {
		c.SendFailed(now, to.To())
	}
}

// refused reports whether an error of the raw socket says that nothing of the kind can
// leave, rather than that a queue is full.
func refused(err error) bool {
	return err != unix.ENOBUFS && err != unix.EAGAIN && err != unix.ENOMEM && err != unix.EMSGSIZE
}

// await has the kernel be asked a little later what became of a segment that an end is to
// accept.
func (w *Watcher) await(c *Conn, to faults.Direction, m meant, now time.Duration) {
	m.asked = askDue
	c.ended = c.ended || m.kind == aRST || m.kind == aFIN
	c.ends[to.Flip()].meant = m
	if !c.asking && w.Kernel != nil {
		c.asking = true
		w.asks.add(c, now)
	}
}

// Keeps reports whether the kernel must go on to hand over the segments of a connection
// that no fault wants any more. armed says that a fault still waits for an alarm.
func (w *Watcher) Keeps(c *Conn, armed bool, now time.Duration) bool {
	switch {
	case !c.follows():
		return false
	case c.struck:
		return now-c.struckAt < SettleAfter && !c.Outcome(now, faults.Both).Known()
	}
	return w.Judged && (c.Turns < 2 && !c.Closed() || armed)
}
