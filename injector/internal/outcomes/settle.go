package outcomes

import (
	"iter"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/features"
	"github.com/faultctl/faultctl/faults/outcome"
)

const (
	// AskAfter is how long after a segment of ours has left the kernel is asked what
	// became of it: by then it is past all rules of this host, and a local socket has it.
	AskAfter = 20 * time.Millisecond

	// SettleAfter is how long after a strike an outcome is settled that is known by then:
	// a little longer than an end must be silent for its silence to be evidence. A
	// connection that was struck is watched for as long.
	SettleAfter = 3*time.Second + AskAfter

	// GiveUpAfter is how much later any other outcome is settled as it is, unless a command
	// is judged: then what its application does later counts as well.
	GiveUpAfter = 7 * time.Second

	// batch is how many connections Due looks at for each of the three.
	batch = 64
)

// Next returns when Due has something to do, or faults.Never.
func (w *Watcher) Next() time.Duration {
	return min(w.asks.next(AskAfter), w.settles.next(SettleAfter), w.givesUp.next(GiveUpAfter))
}

// Due looks at the connections that are due, a few at a time.
func (w *Watcher) Due(now time.Duration) {
	var asked []question
	for range batch {
		c := w.asks.due(now, AskAfter)
		if c == nil {
			break
		}
		if c.asking = false; !c.finished {
			asked = c.questions(asked, false)
		}
	}
	w.ask(asked, nil)
	for range batch {
		c := w.settles.due(now, SettleAfter)
		if c == nil {
			break
		}
		if !c.follows() {
			continue
		}
		if qs := c.questions(nil, true); len(qs) > 0 && w.Kernel != nil {
			w.ask(qs, func() { w.settleOrWait(c, w.Clock()) })
			continue
		}
		w.settleOrWait(c, now)
	}
	for range batch {
		c := w.givesUp.due(now, GiveUpAfter)
		if c == nil {
			break
		}
		if !c.finished {
			w.Finish(c, now)
			w.Engine.Rest(c.flow, now)
		}
	}
}

// settleOrWait settles an outcome that is known well enough.
func (w *Watcher) settleOrWait(c *Conn, now time.Duration) {
	if !c.follows() {
		return
	}
	o := c.outcome(now, w.Judged)
	switch {
	case o.AnswerLost && w.Engine.Alarmed(c.flow): // the fault may yet let the answer pass
		w.later(&w.settles, c, now)
	case o.Known(), !o.Struck, o.Sent.Answer == outcome.No, o.Accepted.Answer == outcome.No:
		w.settle(c, o, now)
	case o.Accepted.Evidence == outcome.NotYet: // the segment left some time after the strike
		w.later(&w.settles, c, now)
	case !w.Judged:
		w.later(&w.givesUp, c, now)
	}
	w.Engine.Rest(c.flow, now)
}

// later has a connection be looked at later. If too many wait, the oldest does no longer.
func (w *Watcher) later(q *queue, c *Conn, now time.Duration) {
	q.add(c, now)
	for w.Most > 0 && q.len() > w.Most {
		old := q.take()
		if old.finished {
			continue
		}
		if old.follows() {
			w.Early.Add(1)
		}
		w.Finish(old, now)
		w.Engine.Rest(old.flow, now)
	}
}

// settle adds an outcome to the tallies of the faults that struck.
func (w *Watcher) settle(c *Conn, o outcome.Outcome, now time.Duration) {
	c.settled = true
	by := c.by
	if !o.Struck {
		if o.Why != outcome.ClosedBefore {
			return
		}
		by |= c.probed
	}
	for i := range min(w.Engine.Faults(c.flow), 64) {
		if by&(1<<i) != 0 {
			w.Engine.Tally(c.flow, i).add(o)
			w.Engine.Settled(c.flow, i, o)
		}
	}
}

// Finish ends what is known of a connection: the engine forgets it or parks it, its
// faults are removed, or the run ends.
func (w *Watcher) Finish(c *Conn, now time.Duration) {
	if c == nil || c.finished {
		return
	}
	if !c.settled && (c.struck || c.probed != 0) {
		w.settle(c, c.outcome(now, w.Judged), now)
	}
	c.finished = true
	// An answer that has not begun may still come, unless the connection is over.
	lost := c.struck && c.AnswerLost() && (w.Judged || c.ended || c.Turn == features.ServerSent || c.Closed())
	prevented := !c.struck && c.whole && (c.probed == 0 && !c.alone || c.ClosedBefore(now))
	unconnected := w.Judged && !c.struck && c.whole && !c.Connected()
	encrypted := !c.struck && c.TLS
	if !lost && !prevented && !unconnected && !encrypted {
		return
	}
	for i := range min(w.Engine.Faults(c.flow), 64) {
		switch {
		case c.by&(1<<i) != 0 && lost:
			w.Engine.Tally(c.flow, i).addLost(c.again)
		case c.by&(1<<i) == 0 && prevented:
			w.prevented(c, i, now)
		}
		if unconnected || encrypted {
			w.Engine.Tally(c.flow, i).addUntouched(unconnected, encrypted)
		}
	}
}

// prevented notes what kept a connection from being idle for as long as a fault waits.
// All of its segments have been seen.
func (w *Watcher) prevented(c *Conn, fault int, now time.Duration) {
	wait := w.Engine.Waits(c.flow, fault)
	if wait.After == 0 {
		return
	}
	if how, silence := c.Prevents(wait.After, !wait.DataOnly, now); how != features.NotPrevented {
		w.Engine.Tally(c.flow, fault).addPrevented(outcome.Prevention{How: how, Silence: silence, Needed: wait.After})
	}
}

// End settles all that is open when the run ends. The rules that queue packets are gone by
// then; those that remember what has left are not. It calls before ahead of each
// connection, and may sleep.
func (w *Watcher) End(conns iter.Seq[*Conn], before func()) {
	now := w.Clock()
	var asked []question
	var late time.Duration
	for c := range conns {
		if c.follows() {
			if c.asking {
				late = max(late, AskAfter)
			}
			asked = c.questions(asked, true)
		}
	}
	if w.Kernel != nil && len(asked) > 0 {
		asked = asked[:min(len(asked), mostAsked)]
		time.Sleep(late)
		askAll(w.Kernel, asked)
		now = w.Clock()
		for i := range asked {
			asked[i].apply(now)
		}
	}
	for c := range conns {
		before()
		w.Finish(c, now)
	}
}

// queue is connections that are looked at some time after they were added.
type queue struct {
	waiting []waiting
	first   int
}

type waiting struct {
	conn  *Conn
	since time.Duration
}

func (q *queue) add(c *Conn, now time.Duration) { q.waiting = append(q.waiting, waiting{c, now}) }

// due takes the first connection if it has been here for that long.
func (q *queue) due(now, after time.Duration) *Conn {
	if q.first == len(q.waiting) || now-q.waiting[q.first].since < after {
		return nil
	}
	return q.take()
}

func (q *queue) len() int { return len(q.waiting) - q.first }

// take takes the first connection. There must be one.
func (q *queue) take() *Conn {
	c := q.waiting[q.first].conn
	q.waiting[q.first] = waiting{}
	q.first++
	if q.first == len(q.waiting) || q.first > 2*batch && 2*q.first > len(q.waiting) {
		q.waiting = append(q.waiting[:0], q.waiting[q.first:]...)
		q.first = 0
	}
	return c
}

// next returns when the first connection has been here for that long.
func (q *queue) next(after time.Duration) time.Duration {
	if q.first == len(q.waiting) {
		return faults.Never
	}
	return q.waiting[q.first].since + after
}
