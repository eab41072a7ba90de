package wire

import (
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/clue"
	"github.com/faultctl/faultctl/faults/features"
	"github.com/faultctl/faultctl/faults/packet"
)

// idle is the shortest silence that counts as one: a second, less what a timer may
// be early. A device on the path waits far longer.
const idle = 900 * time.Millisecond

// near is how long after a segment its answer may come if no round trip is
// known, or the round trip is short.
const near = 200 * time.Millisecond

// reset looks at a RST, before it is taken into account.
func (c *Conn) reset(s *Seen) {
	if c.found != nil && !c.found.Yes.Has(clue.Unreachable) {
		return
	}
	author := &c.flow.Half[s.Dir]
	victim := s.Dir.Flip()
	refusal := s.Flags.Has(packet.ACK) && s.Seq == 0 && !author.SYN
	if !refusal && author.Seen && !c.acceptable(s) {
		c.oddSegment(s)
		return
	}
	f := &Facts{Author: s.Dir, At: s.At, Frame: int(s.Frame)}
	c.stage(f)
	f.only(clue.Reset)
	f.say(clue.Recovered, false)
	f.say(clue.RefusalRST, refusal)
	f.say(clue.ActiveRST, !refusal && s.Flags.Has(packet.ACK))
	f.say(clue.AnswerRST, !s.Flags.Has(packet.ACK))
	c.closed(f)
	if awaits, known := c.awaits(victim); known && c.seen[victim] && c.seen[s.Dir] {
		f.say(clue.AwaitsAnswer, awaits)
	}
	c.provoked(f, s)
	c.silence(f, s)
	c.who(f, s)
	if c.seen[victim] {
		f.say(clue.ProbesIgnored, c.ignoredProbes(s.Dir))
	}
	f.say(clue.SYNACKAgain, c.synackAgain())
	if c.gaveUp(f, s) {
		return
	}
	c.found = f
}

// closed says which ends had sent a FIN. That none was seen of an end says
// something only if it was seen to send other things, or the connection from its
// beginning.
func (c *Conn) closed(f *Facts) {
	for i, k := range [...]clue.Clue{clue.AuthorFIN, clue.VictimFIN} {
		dir := f.Author ^ faults.Direction(i)
		if h := &c.flow.Half[dir]; h.FIN || c.seen[dir] && (c.Began() || h.Bytes > 0) || f.Yes&clue.Of(clue.Connecting) != 0 {
			f.say(k, h.FIN)
		}
	}
}

// acceptable reports whether the receiver's TCP takes the RST (RFC 5961 section
// 3.2): its number is the next that it expects, which lies between what it was
// seen to acknowledge and what was seen on its way to it. Linux takes the number
// before a FIN as well (tcp_reset_check).
func (c *Conn) acceptable(s *Seen) bool {
	h := &c.flow.Half[s.Dir]
	low := h.Next
	if h.HasAck {
		if low = h.Acked; h.Next.Less(low) {
			low = h.Next
		}
	} else if c.cut || len(c.log) == 0 {
		return true
	} else if h.SYN {
		low = c.isn[s.Dir]
	}
	if h.FIN {
		low = low.Add(^uint32(0))
	}
	// What the author sent and this capture did not show may have arrived.
	const unseen = 1 << 16
	return low.LessEq(s.Seq) && (s.Seq.LessEq(h.Next) || s.Flags == packet.RST && s.Seq.LessEq(h.Next.Add(unseen)) && c.acks(s.Dir.Flip(), s.Seq))
}

// acks reports whether the end that sends in direction dir acknowledged that
// number.
func (c *Conn) acks(dir faults.Direction, seq packet.Seq) bool {
	for i := range c.log {
		if o := &c.log[i]; o.Dir == dir && o.ICMP == 0 && o.Ack == seq {
			return true
		}
	}
	return false
}

// awaits reports whether the end that sends in direction dir awaits an answer.
func (c *Conn) awaits(dir faults.Direction) (awaits, known bool) {
	awaits, known = c.flow.Awaits()
	if dir == faults.Reply {
		awaits = c.flow.Turn == features.ServerSent
	}
	return awaits, known
}

// provoked finds the segment that the RST answers: the last one whose
// acknowledgment number is the RST's sequence number, or a SYN.
func (c *Conn) provoked(f *Facts, s *Seen) {
	if !c.seen[s.Dir.Flip()] {
		return // this capture has one direction only
	}
	limit := max(10*c.rtt(s.Dir), near)
	if s.Flags.Has(packet.ACK) && s.Seq != 0 {
		return // an active RST answers nothing; that it comes after a segment is chance
	}
	var it *Seen
	for i := range c.log {
		o := &c.log[i]
		if o.Dir == s.Dir || o.ICMP != 0 || o.Kind == features.RST {
			continue
		}
		answers := o.Flags.Has(packet.ACK) && o.Ack == s.Seq
		if s.Flags.Has(packet.ACK) {
			answers = o.Flags.Has(packet.SYN) && o.Seq.Add(1) == s.Ack
		}
		if answers && (it == nil || o.Kind != features.ACK || it.Kind == features.ACK) {
			it = o
		}
	}
	if it != nil && it.Kind == features.SYN {
		limit = s.At // nothing else can have drawn it, however long the way is
	}
	if it == nil || s.At-it.Last > limit {
		if it != nil || c.knows(s, limit) {
			f.Yes |= clue.Of(clue.Unprovoked)
		}
		f.No |= clue.Of(clue.ToSYN, clue.ToSYNACK, clue.ToACK, clue.ToData, clue.ToProbe, clue.ToFIN)
		return
	}
	f.Answer, f.Delay = int(it.Frame), s.At-it.Last
	f.say(clue.ToSYN, it.Kind == features.SYN && !it.Flags.Has(packet.ACK))
	f.say(clue.ToSYNACK, it.Kind == features.SYN && it.Flags.Has(packet.ACK))
	f.say(clue.ToACK, it.Kind == features.ACK && f.Yes.Has(clue.Handshake))
	f.say(clue.ToData, it.Kind == features.Data || it.Kind == features.FIN && it.End.Sub(it.Seq) > 1)
	f.say(clue.ToProbe, it.Kind == features.Keepalive)
	f.say(clue.ToFIN, it.Kind == features.FIN)
	// A bare ACK draws a RST from a host that does not know the connection; but most
	// RSTs that come after one come by themselves.
	if it.Kind != features.ACK || f.Yes.Has(clue.Handshake) {
		f.No |= clue.Of(clue.Unprovoked)
	}
}

// knows reports whether the victim's segments of that long before the RST are
// remembered: all that it can answer.
func (c *Conn) knows(s *Seen, long time.Duration) bool {
	h := &c.flow.Half[s.Dir.Flip()]
	return h.Seen && (c.Began() && !c.cut || s.At-min(h.LastACK, c.log[0].At) > long)
}

// silence measures the silence before: up to the segment that the RST answers, or
// up to the RST.
func (c *Conn) silence(f *Facts, s *Seen) {
	end, from := s.At, len(c.log)
	for i := len(c.log) - 1; i >= 0; i-- {
		o := &c.log[i]
		if o.Dir == s.Dir && o.Kind != features.RST && o.ICMP == 0 && o.Kind != features.Keepalive {
			break
		}
		if o.Dir != s.Dir && (o.Kind >= features.Data || o.Kind == features.Keepalive) && f.No.Has(clue.Unprovoked) {
			end, from = o.At, i
		}
	}
	if from == 0 || !c.seen[s.Dir.Flip()] {
		if c.cut || c.Began() {
			f.say(clue.Idle, false)
		}
		return // what was before is not known
	}
	f.Idle = max(end-c.log[from-1].Last, 0)
	f.say(clue.Idle, f.Idle >= idle)
	for i := 1; i < len(c.log); i++ {
		if o := &c.log[i]; o.Dir == s.Dir && o.Kind == features.FIN {
			gap := o.At - c.log[i-1].Last
			f.say(clue.FINAfterIdle, gap >= idle)
			if gap >= idle {
				f.Idle = gap
			}
			return
		}
	}
	if f.No.Has(clue.AuthorFIN) {
		f.say(clue.FINAfterIdle, false)
	}
}

// who compares the RST with the author's other segments.
func (c *Conn) who(f *Facts, s *Seen) {
	f.TTL = [2]uint8{s.TTL, c.ttl[s.Dir].get(s.iface)}
	if known := f.TTL[1]; known != 0 {
		f.say(clue.DeviceTTL, known != s.TTL)
		f.say(clue.HostTTL, known == s.TTL)
	}
	// The handshake may have waited for an address to be resolved; what acknowledged
	// data in less time is as far away at most.
	if f.RTT != 0 && c.near[s.Dir] != 0 {
		f.RTT = min(f.RTT, c.near[s.Dir])
		if f.RTT >= 5*time.Millisecond && f.Answer != 0 {
			f.say(clue.TooSoon, f.Delay < f.RTT/4)
		}
	}
}

// ignoredProbes reports whether the last thing that the end sent were keepalive
// probes, and nothing came in answer.
func (c *Conn) ignoredProbes(dir faults.Direction) bool {
	for i := len(c.log) - 1; i >= 0; i-- {
		o := &c.log[i]
		if o.ICMP != 0 {
			continue
		}
		return o.Dir == dir && o.Kind == features.Keepalive && o.Again > 0
	}
	return false
}

// synackAgain reports whether the server sent its SYN-ACK again after the client
// had acknowledged it.
func (c *Conn) synackAgain() bool {
	var acked *Seen
	for i := range c.log {
		if o := &c.log[i]; o.Dir == faults.Original && o.Flags.Has(packet.ACK) {
			acked = o
			break
		}
	}
	for i := range c.log {
		if o := &c.log[i]; acked != nil && o.Dir == faults.Reply && o.Kind == features.SYN && o.Last > acked.At {
			return true
		}
	}
	return false
}

// gaveUp reports whether the RST is that of an end that had sent in vain: then
// the silence before is what happened, and not the RST.
func (c *Conn) gaveUp(f *Facts, s *Seen) bool {
	g := c.inVain(s.At)
	if g == nil || g.Author == s.Dir || !f.Yes.Has(clue.ActiveRST) {
		return false
	}
	c.found = g
	return true
}

// check looks for a segment that no TCP accepts although its connection is open.
// stamped says that it has a timestamp.
func (c *Conn) check(s *Seen, stamped bool) {
	author, victim := &c.flow.Half[s.Dir], &c.flow.Half[s.Dir.Flip()]
	const ancient = 1 << 18
	switch {
	case !author.Seen || !victim.Seen || c.found != nil:
	case s.Flags.Has(packet.SYN) && author.SYN && s.Seq != c.isn[s.Dir],
		s.Flags.Has(packet.SYN) && !author.SYN,
		s.Flags.Has(packet.ACK) && victim.HasAck && victim.Acked.Sub(s.Ack) > ancient,
		stamped && c.stamps[s.Dir] && int32(c.stamp[s.Dir]-s.val) > ancient:
		c.oddSegment(s)
	}
	if stamped && (!c.stamps[s.Dir] || int32(s.val-c.stamp[s.Dir]) > 0) {
		c.stamp[s.Dir], c.stamps[s.Dir] = s.val, true
	}
}

// oddSegment notes a segment that no TCP accepts.
func (c *Conn) oddSegment(s *Seen) {
	if c.odd != nil {
		return
	}
	f := &Facts{Author: s.Dir, At: s.At, Frame: int(s.Frame), TTL: [2]uint8{s.TTL, c.ttl[s.Dir].get(s.iface)}}
	f.say(clue.Open, true)
	f.only(clue.Unacceptable)
	f.No |= clue.Of(clue.Connecting, clue.Handshake)
	if t := f.TTL[1]; t != 0 {
		f.say(clue.DeviceTTL, t != s.TTL)
		f.say(clue.HostTTL, t == s.TTL)
	}
	c.odd = f
}

// after looks at what comes after an ICMP error: it was a passing one if the end
// answers after all.
func (c *Conn) after(s *Seen) {
	if c.found.Yes.Has(clue.Unreachable) && s.Dir == c.found.Author && s.Kind != features.RST && (s.Fresh || s.Kind == features.ACK) {
		c.found = nil
	}
}
