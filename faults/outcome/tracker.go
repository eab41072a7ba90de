package outcome

import (
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/features"
	"github.com/faultctl/faultctl/faults/packet"
)

const (
	// graceUnknown is how long after a strike what an end sends may have been
	// under way already, where its round trip is not known. It is less than the
	// first timer of a SYN (1 s).
	graceUnknown = 500 * time.Millisecond

	// graceMore is added to two round trips where these are known: hosts are busy. It is
	// less than the first retransmission of anything takes (200 ms), so that this comes
	// late.
	graceMore = 100 * time.Millisecond

	// soon is how long after a strike a socket that was connecting must be gone for
	// that to be evidence.
	soon = 250 * time.Millisecond

	// patience is how long an end that has something unacknowledged may be silent
	// before that is evidence: three times the first retransmission timer of a
	// connection without samples (RFC 6298 section 2.1).
	patience = 3 * time.Second
)

// Tracker follows one connection from its first segment on: before it is
// struck, to know what is at stake, and after, to see what the strike came to.
// The zero Tracker is ready to use, by one goroutine at a time. All times are
// since the rules went in and never decrease.
//
// For each segment that a fault acts on, Segment comes first, then Strike for
// each note of the fault, then Forged for each segment that is sent for it.
type Tracker struct {
	features.Flow
	ends [2]end // by the direction in which the end sends
	over bool   // the connection was closed before the segment seen last
	cut  bool   // some of what the client sent was to leave in another form, and did not

	// Waited is how long before it is handed over the next segment may have come:
	// whoever hands it over was busy.
	Waited time.Duration
}

// end is what was done to one end.
type end struct {
	at       time.Duration // of the last strike
	first    time.Duration // of the first segment that was meant to be accepted
	steps    [3]time.Duration
	answers  [3]Answer
	evidence [3]Evidence

	seq packet.Seq // one past the forged segment
	fin packet.Seq // one past the forged FIN
	ack packet.Seq // what the end had acknowledged at the strike

	action   faults.Action
	flags    endFlags
	inflight bool // something of it was swallowed, so that it must send it again
	heard    bool // it sent something since the last segment that was meant for it
	zero     bool // it was offered no window
	doubt    bool // it was connecting, and what it sent may have come before or after: its silence is no evidence
}

type endFlags uint16

const (
	struck   endFlags = 1 << iota
	forged            // by a segment of ours; else a verdict is all
	probed            // it was sent a probe before anything else
	nobody            // nothing was there to be struck
	failed            // a send for it failed
	detached          // its socket belonged to nobody
	owned             // its socket belonged to a process before the strike
	mirrored          // segments to the other end were changed: whether these arrived counts
	finished          // it was sent a FIN of ours
)

const (
	sent = iota
	accepted
	felt
)

func (e *end) set(step int, at time.Duration, a Answer, ev Evidence) {
	e.steps[step], e.answers[step], e.evidence[step] = at, a, ev
}

// feel notes that the application felt the strike, unless no program has the socket.
func (e *end) feel(at time.Duration, ev Evidence) {
	if !e.has(detached) {
		e.set(felt, at, Yes, ev)
	}
}

func (e *end) step(step int) Step {
	return Step{e.steps[step], e.answers[step], e.evidence[step]}
}

func (e *end) has(f endFlags) bool { return e.flags&f != 0 }

// Segment takes a segment of one of the ends into account, with what becomes of
// it. One that does not simply go on is struck, whether or not a Strike follows
// that says more.
func (t *Tracker) Segment(at time.Duration, dir faults.Direction, s packet.Segment, fate features.Fate) {
	if fate == features.Forged {
		t.Forged(at, dir, s)
		return
	}
	t.over = t.Closed() || t.Finished()
	before := t.Half[dir]
	kind, fresh := t.Flow.Observe(at, dir, s, fate)
	e := &t.ends[dir]
	if e.has(struck|probed) && at >= e.at {
		t.react(at, e, &before, dir, s, kind, fresh)
		if Active(e.action) && fate == features.Dropped && fresh && (kind == features.Data || kind == features.FIN) {
			e.inflight = true // it had left before the segment of ours arrived, or is sent again
		}
	}
	if fate == features.Passed || kind == features.ACK && (e.has(probed) || t.ends[dir.Flip()].has(probed)) {
		return // or it is the answer to a probe of ours
	}
	t.Strike(at, did(fate), dir.To())
	if kind == features.Data && fresh {
		t.affected(at, dir)
	}
}

// did is what was done to a segment, by its fate: a fault need not say so.
func did(fate features.Fate) faults.Action {
	switch fate {
	case features.Held:
		return faults.Held
	case features.Rewritten:
		return faults.Rewritten
	}
	return faults.Dropped
}

// affected notes that payload which travels in direction dir was dropped, held or
// changed. What is done to segments is felt then, and so is a RST in mid-answer.
func (t *Tracker) affected(at time.Duration, dir faults.Direction) {
	for i := range t.ends {
		e := &t.ends[i]
		cut := faults.Direction(i) != dir && e.evidence[felt] == AnswerMayGoOn
		if e.has(struck) && !e.has(nobody) && e.answers[felt] != Yes && (!Active(e.action) || cut) {
			e.feel(at, DataAffected)
		}
	}
}

// Forged takes a segment of our own making into account, which travels in
// direction dir and was handed to the raw socket. If that fails, SendFailed
// follows. A RST or FIN that no Strike has told of disposes of an end that the
// fault is not about.
func (t *Tracker) Forged(at time.Duration, dir faults.Direction, s packet.Segment) {
	e := &t.ends[dir.Flip()]
	flags := s.Flags()
	switch {
	case flags.Has(packet.RST), flags.Has(packet.FIN):
		if !e.has(struck) {
			t.Strike(at, faults.Held, dir.To())
		}
		if e.has(nobody) || !Active(e.action) {
			return // no note says that it was meant for this end: it is disposed of, which is done by the verdicts
		}
		e.flags |= forged
		if e.answers[sent] == NotKnown {
			e.set(sent, at, Yes, RawSent)
		}
		e.sentFIN(s)
		t.await(at, e, s.End())
	case e.has(struck): // a piece, a copy, or an answer of a ghost
	default:
		e.flags |= probed
		e.at = at
	}
	t.brings(at, dir, s)
}

// brings takes into account what a segment of ours tells the end that it is sent to.
func (t *Tracker) brings(at time.Duration, dir faults.Direction, s packet.Segment) {
	e := &t.ends[dir.Flip()]
	t.Flow.Forged(dir, s)
	if Active(e.action) && e.evidence[felt] == DataAffected && !t.Half[dir].Cut() {
		// It brings the payload, and lacks nothing but the FIN.
		answer, ev := t.stake(at, e.action, dir.Flip())
		e.set(felt, at, answer, ev)
	}
}

// sentFIN notes that the end was sent a FIN: if it acknowledges that it has accepted it,
// whatever it is sent afterwards.
func (e *end) sentFIN(s packet.Segment) {
	if s.Flags().Has(packet.FIN) {
		e.flags |= finished
		e.fin = s.End()
	}
}

// await begins to wait for what the end makes of a segment.
func (t *Tracker) await(at time.Duration, e *end, seq packet.Seq) {
	e.at, e.seq, e.heard = at, seq, false
	if e.first == 0 {
		e.first = at
	}
	if e.evidence[accepted] == Challenged || e.answers[accepted] == NotKnown {
		e.set(accepted, at, NotKnown, NotYet)
	}
}

// Strike takes into account that a fault did something: the action and the side of
// its note. A segment of ours is for that side. What is done to a segment of an end
// concerns both, whichever side the note names. The notes of observe are no strikes.
func (t *Tracker) Strike(at time.Duration, a faults.Action, to faults.Side) {
	for i := range t.ends {
		dir, e := faults.Direction(i), &t.ends[i]
		meant := to.Includes(dir.From())
		if Active(a) && !meant {
			continue
		}
		first := !e.has(struck)
		t.strike(at, a, dir, e)
		switch {
		case a != faults.Rewritten || e.action != a:
		case meant:
			e.flags &^= mirrored
		case first:
			e.flags |= mirrored
		}
	}
}

// Active reports whether an action is a segment that its receiver must accept.
// The others are done by the verdict itself.
func Active(a faults.Action) bool {
	return a == faults.SentRST || a == faults.SentFIN || a == faults.SentICMP
}

func (t *Tracker) strike(at time.Duration, a faults.Action, dir faults.Direction, e *end) {
	again := e.has(struck)
	if again && (!Active(a) || Active(e.action)) {
		switch {
		case Active(a) && Active(e.action):
			e.action = a
		case !Active(e.action) && e.answers[felt] != Yes && !e.has(nobody|detached):
			if answer, ev := t.stake(at, a, dir); answer == Yes { // another segment was struck
				e.feel(at, ev)
			}
		}
		return
	}
	if over := t.over || at > t.Last && (t.Closed() || t.Finished()); !again && (over || e.has(nobody)) {
		e.flags |= struck | nobody
		e.at = at
		return
	}
	e.flags = e.flags&^mirrored | struck
	e.at, e.action, e.first = at, a, 0
	e.set(accepted, at, NotKnown, NotYet)
	e.ack, e.inflight = t.Half[dir.Flip()].Acked, t.Half[dir].Swallowed()
	switch a {
	case faults.SentICMP:
		e.set(sent, at, Yes, RawSent)
		t.await(at, e, t.Half[dir.Flip()].Next)
	case faults.SentRST, faults.SentFIN:
		e.set(sent, at, NotKnown, None)
		t.await(at, e, t.Half[dir.Flip()].Next)
	case faults.Rewritten:
		e.set(sent, at, NotKnown, NotWatched)
		t.await(at, e, t.Half[dir.Flip()].Next)
	default:
		e.set(sent, at, Yes, ByVerdict)
		e.set(accepted, at, Yes, ByVerdict)
	}
	if e.has(detached) {
		e.set(felt, at, No, ClosedItself)
		return
	}
	answer, ev := t.stake(at, a, dir)
	e.set(felt, at, answer, ev)
}

// Replaced says that s went on in place of the segment that the fault acted on,
// by the verdict, and follows Strike: whether it left the host only its effect can tell, or the
// kernel (LeftHost, Eaten). dir is the way it travels.
func (t *Tracker) Replaced(at time.Duration, dir faults.Direction, s packet.Segment) {
	e := &t.ends[dir.Flip()]
	if !e.has(struck) || e.has(nobody) {
		return
	}
	if e.answers[sent] == NotKnown {
		e.set(sent, at, NotKnown, NotWatched)
	}
	if Active(e.action) {
		e.flags |= forged
		e.sentFIN(s)
		t.await(at, e, s.End())
	} else if e.action == faults.Rewritten {
		e.seq, e.zero = s.End(), s.Window() == 0
	}
	t.brings(at, dir, s)
}

// SendFailed says that a segment for that side did not leave the host. If it is what goes on in
// place of the ends' own, or besides, both ends lack it.
func (t *Tracker) SendFailed(at time.Duration, to faults.Side) {
	for i := range t.ends {
		dir, e := faults.Direction(i), &t.ends[i]
		if (to.Includes(dir.From()) || !Active(e.action)) && e.has(struck) && !e.has(nobody) {
			e.flags |= failed
			t.cut = t.cut || !Active(e.action) && to.Includes(faults.Server)
			e.set(sent, at, No, SendFailed)
			if e.answers[accepted] != Yes {
				e.set(accepted, at, No, NeverReachedIt)
			}
		}
	}
}

// AnswerLost is that of the Flow, which takes what was to leave for what has left.
func (t *Tracker) AnswerLost() bool { return !t.cut && t.Flow.AnswerLost() }

// accept notes that an end acted on what it was sent: so that was sent, too.
func (t *Tracker) accept(at time.Duration, e *end, ev Evidence) {
	if e.has(failed) && !Active(e.action) {
		return // what it acts on is something else
	}
	if e.answers[accepted] != Yes {
		e.set(accepted, at, Yes, ev)
	}
	if e.answers[sent] != Yes {
		e.set(sent, at, Yes, ByEffect)
	}
}
