package injector

import (
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/features"
	"github.com/faultctl/faultctl/faults/outcome"
)

const (
	// askAfter is how long after a segment of ours has left the kernel is asked what
	// became of it: all rules of this host are behind it by then, and a socket of
	// this host has it.
	askAfter = 20 * time.Millisecond

	// settleAfter is when an outcome is settled that is known by then: as long as an
	// end must be silent for that to be evidence. A connection that was struck is
	// watched for as long.
	settleAfter = 3 * time.Second

	// givenUpAfter is how long after that it is settled as it is, unless a command is
	// judged by it: then what its application does later counts as well.
	givenUpAfter = 7 * time.Second
)

// checks is when the outcomes of connections are looked at.
type checks struct {
	ask, settle, giveUp checkQueue
}

// checkQueue is flows that are looked at a while after they were put here.
type checkQueue struct {
	flows []idleFlow
	first int
}

func (q *checkQueue) put(f *entry, now time.Duration) { q.flows = append(q.flows, idleFlow{f, now}) }

// due takes the first flow if it has been here for that long.
func (q *checkQueue) due(now, after time.Duration) *entry {
	if q.first == len(q.flows) || now-q.flows[q.first].at < after {
		return nil
	}
	f := q.flows[q.first].flow
	q.flows[q.first] = idleFlow{}
	q.first++
	if q.first == len(q.flows) || q.first > 2*parkBatch && 2*q.first > len(q.flows) {
		q.flows = append(q.flows[:0], q.flows[q.first:]...)
		q.first = 0
	}
	return f
}

// next returns when the first flow is to be looked at.
func (q *checkQueue) next(after time.Duration) time.Duration {
	if q.first == len(q.flows) {
		return faults.Never
	}
	return q.flows[q.first].at + after
}

// next returns when there is something to look at.
func (c *checks) next() time.Duration {
	return min(c.ask.next(askAfter), c.settle.next(settleAfter), c.giveUp.next(givenUpAfter))
}

// check looks at what is due, a few flows at a time.
func (w *worker) check(now time.Duration) {
	var asked []question
	for range parkBatch {
		f := w.checks.ask.due(now, askAfter)
		if f == nil {
			break
		}
		if f.track != nil {
			f.track.asking = false
			asked = f.questions(asked, false)
		}
	}
	w.askKernel(asked, nil)
	for range parkBatch {
		f := w.checks.settle.due(now, settleAfter)
		if f == nil {
			break
		}
		if f.track == nil || f.track.settled {
			continue
		}
		if qs := f.questions(nil, true); len(qs) > 0 && w.kernel != nil {
			w.askKernel(qs, func() { w.settleOrWait(f, w.clock()) })
			continue
		}
		w.settleOrWait(f, now)
	}
	for range parkBatch {
		f := w.checks.giveUp.due(now, givenUpAfter)
		if f == nil {
			break
		}
		w.finish(f, now)
		w.mayPark(f, now)
	}
}

// settleOrWait settles an outcome that is known well enough.
func (w *worker) settleOrWait(f *entry, now time.Duration) {
	if f.track == nil || f.track.settled || f.deleted {
		return
	}
	o := f.track.result(now, w.judges)
	switch {
	case o.Known(), !o.Struck, o.Sent.Answer == outcome.No, o.Accepted.Answer == outcome.No:
		w.settle(f, o, now)
	case o.Accepted.Evidence == outcome.NotYet: // the segment left later than the strike was
		w.checks.settle.put(f, now)
	case !w.judges:
		w.checks.giveUp.put(f, now)
	}
	w.mayPark(f, now)
}

// result is the outcome as it is now: of the end that the command has, if there is
// one.
func (t *tracking) result(now time.Duration, judges bool) outcome.Outcome {
	switch {
	case !judges:
		return t.Outcome(now, faults.Both)
	case t.local[faults.Reply] && !t.local[faults.Original]:
		return t.OutcomeFor(now, faults.Server)
	}
	return t.OutcomeFor(now, faults.Client)
}

// settle sums up an outcome.
func (w *worker) settle(f *entry, o outcome.Outcome, now time.Duration) {
	t := f.track
	t.settled = true
	by := t.by
	if !o.Struck {
		if o.Why != outcome.ClosedBefore {
			return
		}
		by |= t.asked
	}
	for i, c := range f.links {
		if i > 63 || by&(1<<i) == 0 {
			continue
		}
		if !o.Struck && f.fired&(1<<i) != 0 { // that nothing was there came out later
			c.fired.Add(^uint64(0))
		}
		c.settle(o)
		nth, known := f.ordinalOf(c.rule)
		if !known {
			nth.nth = f.nth
		}
		w.tell(record{kind: Outcome, client: f.Client, server: f.Server, rule: c.rule, nth: nth.nth, fault: c, outcome: o})
	}
}

// settle adds an outcome to the sums of a fault.
func (c *counters) settle(o outcome.Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.settled
	s.Furthest = outcome.Further(s.Furthest, o)
	if !o.Struck {
		s.ClosedBefore++
		return
	}
	s.Struck++
	switch {
	case o.Sent.Answer == outcome.No:
		s.Unsent++
	case o.Accepted.Answer == outcome.No:
		s.Unaccepted++
	case o.Felt.Answer == outcome.No:
		s.Unfelt++
	case o.Known():
		s.Felt++
	default:
		s.Unknown++
	}
}

// finish is the end of what is known of a flow: it is forgotten, or put away, or the
// run ends.
func (w *worker) finish(f *entry, now time.Duration) {
	t := f.track
	if t == nil {
		return
	}
	if !t.settled && (t.struck || t.asked != 0) {
		w.settle(f, t.result(now, w.judges), now)
	}
	// An answer that has not begun may still come, unless the connection is over.
	lost := t.struck && t.AnswerLost() && (w.judges || t.ended || t.Turn == features.ServerSent || t.Closed())
	for i, c := range f.links {
		if i > 63 {
			break
		}
		switch {
		case t.by&(1<<i) != 0:
			if lost {
				c.answerLost(t.again)
			}
		case !t.struck && t.asked == 0 && t.whole && f.chain != nil:
			w.prevented(t, c, f.waiting(i, w.rules), now)
		}
	}
	f.track = nil
}

func (c *counters) answerLost(again bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settled.AnswersLost++
	if again {
		c.settled.SentAgain++
	}
}

// waiting is how long a fault waits for a connection to be idle.
type waiting struct {
	after time.Duration // 0: it does not
	data  bool          // only payload counts
}

// waiting is what the fault of that place in the chain waits for.
func (f *entry) waiting(i int, rules []*ruleState) waiting {
	rule := f.links[i].rule
	for n := range i {
		if f.links[n].rule == rule {
			return rules[rule].settings.Load().waits[i-n]
		}
	}
	return rules[rule].settings.Load().waits[0]
}

// prevented takes down what kept a connection from being idle for as long as a fault
// waits. It saw all of it.
func (w *worker) prevented(t *tracking, c *counters, wait waiting, now time.Duration) {
	if wait.after == 0 {
		return
	}
	how, silence := t.Prevents(wait.after, !wait.data, now)
	if how == features.NotPrevented {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := &c.settled.Prevented; p.How == features.NotPrevented || silence > p.Silence {
		*p = Prevented{How: how, Silence: silence, Needed: wait.after}
	}
}

// endOutcomes settles all that is open when the run ends. The rules that queue are
// gone by then, those that remember what has left are not.
func (w *worker) endOutcomes() {
	now := w.clock()
	var asked []question
	var late time.Duration
	for _, f := range w.flows.flows {
		if f.track != nil && !f.track.settled {
			if f.track.asking {
				late = max(late, askAfter)
			}
			asked = f.questions(asked, true)
		}
	}
	if w.kernel != nil && len(asked) > 0 {
		if len(asked) > mostAsked {
			asked = asked[:mostAsked]
		}
		time.Sleep(late)
		askAll(w.kernel, asked)
		now = w.clock()
		for i := range asked {
			asked[i].apply(now)
		}
	}
	until := time.Now().Add(2 * time.Second)
	for _, f := range w.flows.flows {
		for w.report != nil && w.report.full() && time.Now().Before(until) {
			time.Sleep(time.Millisecond) // no packet waits for it any more
		}
		w.finish(f, now)
	}
}
