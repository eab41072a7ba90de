package wire

import (
	"cmp"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/clue"
	"github.com/faultctl/faultctl/faults/features"
	"github.com/faultctl/faultctl/faults/packet"
)

// hang is how long an answer or an open window must be missing at the end of a
// capture, at least, and how many times longer than the longest wait before.
const (
	hang      = 500 * time.Millisecond
	hangTimes = 10
)

// End says what happened to the connection, up to the time at which the capture
// ends. It returns nil if nothing did: it is open and in use, or it was closed in
// order. server tells what other connections told of the server's host; the
// zero Host if nothing.
func (c *Conn) End(at time.Duration, server Host) *Facts {
	f := c.found
	switch {
	case f != nil:
	case c.flow.Closed():
	default:
		if f = c.inVain(at); f == nil {
			f = c.hanging(at)
		}
		// That no answer has come yet is the weakest of findings.
		if f == nil || f.Yes.Has(clue.Unanswered) {
			f = cmp.Or(c.odd, c.recovered(), f)
		}
	}
	if f == nil {
		f = c.odd
	}
	if f == nil {
		return nil
	}
	g := *f
	c.complete(&g, server)
	return &g
}

// complete adds what other connections tell.
func (c *Conn) complete(f *Facts, server Host) {
	if f.Author == faults.Reply && server != (Host{}) {
		if f.TTL[1] == 0 && server.TTL != 0 && f.TTL[0] != 0 {
			f.TTL[1] = server.TTL
			f.say(clue.DeviceTTL, f.TTL[0] != server.TTL)
			f.say(clue.HostTTL, f.TTL[0] == server.TTL)
		}
		f.say(clue.OthersLive, server.Live)
	}
	f.say(clue.OldTimestamp, c.oldStamp)
	if f.Yes.Has(clue.ActiveRST) {
		f.Yes |= c.told[f.Author]
	}
}

// inVain finds what an end sent again and again without any answer, up to that
// time: nil if there is nothing.
func (c *Conn) inVain(at time.Duration) *Facts {
	for _, dir := range []faults.Direction{faults.Original, faults.Reply} {
		if first, tries := c.unanswered(dir); first >= 0 && (tries > 2 || tries > 1 && at-c.log[first].At >= idle) {
			return c.vainFacts(dir, first, tries)
		}
	}
	return nil
}

// unanswered returns which segment of the log is the first that the end which
// sends in direction dir had to send again and got no answer to, and how often it
// was sent; -1 if there is none. A repeated SYN-ACK is no answer.
func (c *Conn) unanswered(dir faults.Direction) (first, tries int) {
	h := &c.flow.Half[dir]
	first = -1
	if !c.seen[dir.Flip()] && (dir == faults.Reply || !c.Began() || c.flow.Half[dir.Flip()].Seen) {
		return first, 0 // this capture has one direction only: an answer cannot be seen
	}
	for i := range c.log {
		o := &c.log[i]
		switch {
		case o.ICMP != 0:
		case o.Dir == dir && o.End != o.Seq && o.Kind != features.Keepalive && (!h.HasAck || h.Acked.Less(o.End)):
			if first < 0 && o.Again == 0 && !c.sentAgain(i) {
				continue
			}
			if first < 0 {
				first = i
			}
			if o.Seq == c.log[first].Seq {
				tries += 1 + int(o.Again)
			}
		case o.Dir != dir && first >= 0 && o.Last > c.log[first].At && !(o.Kind == features.SYN && c.flow.Half[o.Dir].HasAck) &&
			(o.Fresh || o.Kind == features.Keepalive || o.Kind == features.ACK && !c.cameBefore(i, first)):
			first, tries = -1, 0
		}
	}
	return first, tries
}

// cameBefore reports whether all of the repeats of segment i were seen before
// segment j was sent.
func (c *Conn) cameBefore(i, j int) bool { return c.log[i].Last <= c.log[j].At }

// sentAgain reports whether segment i is sent again later in the log, whole or
// as part of another.
func (c *Conn) sentAgain(i int) bool {
	for j := i + 1; j < len(c.log); j++ {
		if o := &c.log[j]; o.Dir == c.log[i].Dir && o.ICMP == 0 && o.Seq == c.log[i].Seq && o.End != o.Seq && o.Kind != features.Keepalive {
			return true
		}
	}
	return false
}

// vainFacts says what is known of segments that were sent in vain.
func (c *Conn) vainFacts(dir faults.Direction, first, tries int) *Facts {
	o := &c.log[first]
	f := &Facts{Author: dir.Flip(), At: o.Last, Frame: int(o.Frame), Tries: tries}
	c.stage(f)
	f.only(clue.Silence)
	f.say(clue.Recovered, false)
	c.closed(f)
	for i := range c.log {
		if c.log[i].ICMP != 0 && c.log[i].At >= o.At {
			f.Yes, f.No = f.Yes|clue.Of(clue.Unreachable), f.No&^clue.Of(clue.Unreachable)
			f.ICMP = c.log[i].ICMP
		}
	}
	if first > 0 {
		f.Idle = o.At - c.log[first-1].Last
		f.say(clue.Idle, f.Idle >= idle)
	} else if c.Began() {
		f.say(clue.Idle, false)
	}
	f.Above = int(c.big[dir])
	const small = 600 // a packet of this size passes everywhere: RFC 9293 section 3.7.1, with headers
	f.say(clue.LargeOnly, o.Kind == features.Data && o.Size > small && int(o.Size) > f.Above && f.Above > 0)
	f.say(clue.SYNACKAgain, c.synackAgain())
	f.say(clue.ProbesIgnored, false)
	return f
}

// hanging finds a connection that is open and does not move.
func (c *Conn) hanging(at time.Duration) *Facts {
	cl, sv := &c.flow.Half[faults.Original], &c.flow.Half[faults.Reply]
	for _, dir := range []faults.Direction{faults.Original, faults.Reply} {
		victim, author := &c.flow.Half[dir], &c.flow.Half[dir.Flip()]
		if !c.seen[dir] || !c.seen[dir.Flip()] || victim.RST || author.RST {
			continue
		}
		f := &Facts{Author: dir.Flip(), At: author.LastACK, Frame: c.frame(dir.Flip())}
		c.stage(f)
		f.say(clue.Recovered, false)
		c.closed(f)
		switch {
		case c.shut(dir.Flip()) && at-victim.LastData >= hang:
			f.only(clue.WindowShut)
			return f
		case author.FIN && !victim.FIN && victim.Keepalives > 0:
			f.only(clue.HalfClosed)
			return f
		case dir == faults.Original && c.flow.Turn == features.ClientSent && !cl.Unacked() && !cl.FIN && !sv.FIN &&
			at-cl.LastData >= max(hang, hangTimes*c.slow):
			f.only(clue.Unanswered)
			f.Delay = at - cl.LastData
			return f
		}
	}
	return nil
}

// shut reports whether the last thing that the end said was that its window is
// zero, and the other end had more to send.
func (c *Conn) shut(dir faults.Direction) bool {
	h := &c.flow.Half[dir]
	return h.Window == 0 && h.Seen && !h.FIN && (h.HasAck || c.flow.Half[dir.Flip()].Bytes > 0)
}

// frame is the last frame of the end that sends in direction dir.
func (c *Conn) frame(dir faults.Direction) int {
	for i := len(c.log) - 1; i >= 0; i-- {
		if c.log[i].Dir == dir {
			return int(c.log[i].Frame)
		}
	}
	return 0
}

// recovered finds a connection attempt that needed more than one SYN, or a first
// message that needed more than one try because the server had not taken the
// connection.
func (c *Conn) recovered() *Facts {
	for i := range c.log {
		o := &c.log[i]
		if o.Dir != faults.Original || o.ICMP != 0 {
			continue
		}
		switch {
		case o.Kind == features.SYN && !o.Flags.Has(packet.ACK) && o.Again > 0 && c.flow.Half[faults.Reply].SYN:
			f := &Facts{Author: faults.Reply, At: o.Last, Frame: int(o.Frame), Tries: 1 + int(o.Again)}
			f.only(clue.Silence)
			f.Yes |= clue.Of(clue.Connecting, clue.Recovered)
			f.No |= clue.Of(clue.Open, clue.Handshake, clue.Idle, clue.LargeOnly)
			return f
		case o.Kind == features.Data && o.Again > 0 && o.Seq == c.isn[faults.Original].Add(1) && c.Began() && o.Last-o.At >= near:
			f := &Facts{Author: faults.Reply, At: o.Last, Frame: int(o.Frame), Tries: 1 + int(o.Again)}
			f.only(clue.Silence)
			f.Yes |= clue.Of(clue.Handshake, clue.Open, clue.Recovered)
			f.No |= clue.Of(clue.Connecting, clue.Idle, clue.LargeOnly)
			f.say(clue.SYNACKAgain, c.synackAgain())
			return f
		}
	}
	return nil
}
