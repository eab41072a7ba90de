package outcome

import (
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/features"
	"github.com/faultctl/faultctl/faults/packet"
)

// grace is how long after a strike an end may still be heard that has accepted
// it: what it sent was under way.
func (t *Tracker) grace(dir faults.Direction) time.Duration {
	if rtt := t.RTT[dir]; rtt != 0 {
		return 2*time.Duration(rtt)*time.Microsecond + graceMore
	}
	return graceUnknown
}

// react takes into account what an end sends after it was struck. before is what
// was known of it before this segment.
func (t *Tracker) react(at time.Duration, e *end, before *features.Half, dir faults.Direction, s packet.Segment, kind features.Kind, fresh bool) {
	if kind == features.RST {
		t.reset(at, e, dir, s)
		return
	}
	if !e.has(struck) || e.has(nobody) {
		return
	}
	came := at - t.Waited
	late, later := came-e.at > t.grace(dir), at-e.at > t.grace(dir)
	switch {
	case e.answers[accepted] == Yes && e.evidence[accepted] != ByVerdict && e.evidence[accepted] != Silence:
	case e.has(finished) && s.Flags().Has(packet.ACK) && e.fin.LessEq(s.Ack()):
		t.accept(at, e, Acknowledged)
	case e.action == faults.SentFIN:
		t.reactFIN(at, e, s, late)
	case e.action == faults.Rewritten:
		t.reactRewritten(at, e, s, kind, fresh && late)
	case !Active(e.action):
	case e.has(failed):
	case challenge(before, s, e, kind, t.Half[dir.Flip()].HasAck):
		e.set(accepted, at, No, Challenged)
	case late || came-e.first > t.grace(dir) && kind == features.Data && !fresh:
		e.set(accepted, at, No, WentOn)
	}
	if later && !late && Active(e.action) && e.answers[accepted] == NotKnown {
		e.set(accepted, at, NotKnown, UnderWay)
		e.doubt = !t.Connected() // whoever gives up to connect is silent as well
	}
	e.heard = e.heard || later
	if kind == features.Data && e.answers[felt] != Yes && at > e.at && (Active(e.action) || e.zero) {
		e.feel(at, SentAfter)
	}
}

// challenge reports whether a segment looks like the answer to a RST or SYN that
// is in the window but not exactly right (RFC 5961 section 3.2): it says nothing
// that its sender had not said before.
func challenge(before *features.Half, s packet.Segment, e *end, kind features.Kind, acked bool) bool {
	if kind != features.ACK || e.action != faults.SentRST || !before.Seen || !acked {
		return false
	}
	_, sack := s.SACK()
	return s.Flags() == packet.ACK && s.Seq() == before.Next && s.Ack() == e.ack && s.Window() == before.Window && !sack
}

// reset takes a RST of an end into account. One without ACK answers a segment
// for which there is no connection (RFC 9293 section 3.5.2); one with ACK comes
// from a socket that was alive.
func (t *Tracker) reset(at time.Duration, e *end, dir faults.Direction, s packet.Segment) {
	switch nobodyThere := !s.Flags().Has(packet.ACK); {
	case !e.has(struck) && nobodyThere: // probed
		e.flags |= nobody
		t.ends[dir.Flip()].flags |= nobody
	case !e.has(struck), e.has(nobody):
	case nobodyThere && e.first == 0 && e.has(probed):
		e.flags |= nobody
	case nobodyThere && Active(e.action) && (e.has(forged) || e.action == faults.SentICMP):
		t.accept(at, e, Nobody)
	case Active(e.action) && at-t.Waited-e.at > t.grace(dir) && e.answers[accepted] == NotKnown:
		e.set(accepted, at, No, Aborted)
	case !Active(e.action) && !nobodyThere && e.answers[felt] != Yes && t.Half[dir].Keepalives+t.Half[dir].Resent > 0:
		e.feel(at, GaveUp)
	}
	e.heard = true
}

// reactFIN judges by what an end acknowledges after it was sent a FIN.
func (t *Tracker) reactFIN(at time.Duration, e *end, s packet.Segment, late bool) {
	switch {
	case s.Flags().Has(packet.ACK) && e.seq.LessEq(s.Ack()):
		t.accept(at, e, Acknowledged)
	case late && e.answers[accepted] != Yes:
		e.set(accepted, at, No, WentOn)
	}
}

// reactRewritten judges by what an end sends after a segment to it was changed:
// it acknowledges it, or, without a window, asks for one instead of sending.
func (t *Tracker) reactRewritten(at time.Duration, e *end, s packet.Segment, kind features.Kind, more bool) {
	switch {
	case e.zero && kind == features.Keepalive:
		t.accept(at, e, Acknowledged)
	case e.zero && kind == features.Data && more:
		e.set(accepted, at, No, WentOn)
	case s.Flags().Has(packet.ACK) && e.ack.Less(s.Ack()) && e.seq.LessEq(s.Ack()):
		t.accept(at, e, Acknowledged)
	}
}

// stake says whether the application at the end that sends in direction dir has
// something at stake now.
func (t *Tracker) stake(at time.Duration, a faults.Action, dir faults.Direction) (Answer, Evidence) {
	h, peer := &t.Half[dir], &t.Half[dir.Flip()]
	client := dir == faults.Original
	switch {
	case client && (!t.Connected() || t.Last == at && t.Kind == features.SYN):
		return Yes, Connecting
	case !client && !t.Accepted():
		return No, NothingAtStake
	}
	if !Active(a) && a != faults.Rewritten {
		// It is done to segments: to those that the end sends, or that it awaits.
		if h.LastData == at && h.Bytes > 0 || peer.LastData == at && peer.Bytes > 0 {
			return Yes, DataAffected
		}
	}
	awaits, known := t.Awaits()
	switch {
	case h.FIN && (!known || !awaits || !client):
		return No, ClosedItself
	case h.FIN && t.ends[dir].has(owned):
		return Yes, AwaitedAnswer
	case h.FIN:
		return NotKnown, MayBeHalfClosed
	case h.LastData == at && h.Bytes > 0:
		return Yes, SentStruck
	case awaits && client:
		return Yes, AwaitedAnswer
	case awaits:
		return Yes, OwedAnswer
	case h.Bytes > 0 && h.Unacked() && known:
		return Yes, Sending
	case !known:
		return NotKnown, HistoryUnseen
	case client && peer.LastData == at && peer.Bytes > 0 && peer.Cut():
		return Yes, DataAffected // it is the answer itself that does not arrive
	case client && peer.Bytes > 0 && at-peer.LastData < features.Pause:
		return NotKnown, AnswerMayGoOn
	case client && peer.Bytes == 0 && at-t.Born < features.Pause:
		return NotKnown, MayBeGreeted
	}
	return No, NothingAtStake
}

// Outcome is what is known at the given time of what was done to that side. For
// [faults.Both] it is that side of which it got furthest, of those that a segment
// was sent to if there is one: what is swallowed besides is no success.
func (t *Tracker) Outcome(at time.Duration, of faults.Side) Outcome {
	best := Outcome{Why: NotStruck}
	meant := false
	for i := range t.ends {
		meant = meant || of == faults.Both && t.ends[i].has(struck) && Active(t.ends[i].action)
	}
	for i := range t.ends {
		dir, e := faults.Direction(i), &t.ends[i]
		if of.Includes(dir.From()) && (!meant || Active(e.action)) {
			best = Further(best, t.outcome(at, dir, e))
		}
	}
	best.AnswerLost = best.Struck && t.AnswerLost()
	return best
}

// OutcomeFor is what is known of what was done to the connection, for the application
// at that side: of that end, if a segment was sent to it, or if none was sent to any
// and something was done to it; else of the other end. For [faults.Both] it is Outcome.
func (t *Tracker) OutcomeFor(at time.Duration, of faults.Side) Outcome {
	if of != faults.Client && of != faults.Server {
		return t.Outcome(at, faults.Both)
	}
	own, peer := &t.ends[of.Sends()], &t.ends[of.Other().Sends()]
	if own.has(struck) && (Active(own.action) || !peer.has(struck) || !Active(peer.action)) {
		return t.Outcome(at, of)
	}
	return t.Outcome(at, faults.Both)
}

// Known reports whether nothing more need be seen: each step of what was done is known, and
// the application has felt it.
func (o Outcome) Known() bool { return o.rank() == 8 }

func (t *Tracker) outcome(at time.Duration, dir faults.Direction, e *end) Outcome {
	switch {
	case e.has(nobody):
		return Outcome{Why: ClosedBefore}
	case !e.has(struck):
		return Outcome{Why: NotStruck}
	}
	o := Outcome{Struck: true, Sent: e.step(sent), Accepted: e.step(accepted), Felt: e.step(felt)}
	if o.Accepted.Answer == NotKnown && !e.heard && o.Sent.Answer != No {
		o.Accepted = silence(at, e)
		if o.Accepted.Answer == Yes && o.Sent.Answer != Yes {
			o.Sent = Step{o.Accepted.At, Yes, ByEffect}
		}
	}
	if e.has(mirrored) && !t.ends[dir.Flip()].has(mirrored) {
		other := t.outcome(at, dir.Flip(), &t.ends[dir.Flip()])
		o.Sent, o.Accepted = other.Sent, other.Accepted
	}
	if o.Accepted.Answer == No {
		o.Felt = Step{o.Accepted.At, No, NotAccepted}
	}
	return o
}

// silence is what it says that an end sent nothing since the strike.
func silence(at time.Duration, e *end) Step {
	switch {
	case at-e.at < patience:
		return Step{0, NotKnown, NotYet}
	case e.doubt:
		return Step{at, NotKnown, UnderWay}
	case e.inflight && Active(e.action):
		return Step{at, Yes, Silence}
	}
	return Step{at, NotKnown, SilentAnyway}
}

// Further returns that of two outcomes which got further on the way from not
// struck to felt: what is said of several connections together.
func Further(a, b Outcome) Outcome {
	if b.rank() > a.rank() {
		return b
	}
	return a
}

func (o Outcome) rank() int {
	switch {
	case !o.Struck && o.Why == ClosedBefore:
		return 1
	case !o.Struck:
		return 0
	case o.Sent.Answer == No:
		return 2
	case o.Accepted.Answer == No:
		return 3
	case o.Felt.Answer == No:
		return 4
	case o.Sent.Answer == NotKnown:
		return 5
	case o.Accepted.Answer == NotKnown:
		return 6
	case o.Felt.Answer == NotKnown:
		return 7
	}
	return 8
}
