// Package wire turns the segments of one TCP connection, as a capture shows
// them, into clues: what a fault of the catalogue predicts. It is pure: time and
// frame numbers come in with each segment.
package wire

import (
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/clue"
	"github.com/faultctl/faultctl/faults/features"
	"github.com/faultctl/faultctl/faults/packet"
)

// Seen is one segment of a capture, and how often it was seen again in a row. Its
// fields are in the order that takes the least memory.
type Seen struct {
	At   time.Duration // since the start of the capture
	Last time.Duration // when it was seen last

	Frame int32 // its number in the capture, from 1; beyond two thousand million it is wrong
	Size  int32 // of the packet, IP header included
	Seq   packet.Seq
	End   packet.Seq
	Ack   packet.Seq
	val   uint32 // of the timestamp
	iface int32

	Again uint16 // how often it was sent again, with nothing else of that side in between
	Win   uint16
	ICMP  uint16 // type and code of an ICMP error that quotes the segment, else 0
	id    uint16

	Dir   faults.Direction
	Kind  features.Kind
	Flags packet.Flags
	TTL   uint8
	Fresh bool // it has sequence numbers that its side had not sent before
}

// ttls has the TTL of an end's segments, by the interface that saw them: a router
// sees each packet twice.
type ttls [2]struct {
	iface int32
	ttl   uint8
}

func (t *ttls) set(iface int32, ttl uint8) {
	for i := range t {
		if t[i].ttl == 0 || t[i].iface == iface {
			t[i].iface, t[i].ttl = iface, ttl
			return
		}
	}
}

// get returns 0 if nothing is known.
func (t *ttls) get(iface int32) uint8 {
	for i := range t {
		if t[i].iface == iface {
			return t[i].ttl
		}
	}
	return 0
}

// Host is what other connections told of a host: see [Conn.End].
type Host struct {
	TTL  uint8 // of its segments that are no RST; 0: none was seen
	Live bool  // others got an answer from it while this connection did not
}

// keep is how many segments of a connection are remembered: the last ones.
const keep = 32

// Conn is one connection. In the zero Conn nothing was seen. It takes at most some
// 3 KB, however long it lasts.
type Conn struct {
	flow features.Flow
	log  []Seen
	cut  bool // segments before the first of log were seen and forgotten

	seen [2]bool // a segment of that side is in the capture: many have one direction only

	isn    [2]packet.Seq    // of the SYN
	ttl    [2]ttls          // of the segments that are no RST
	stamp  [2]uint32        // the newest timestamp
	stamps [2]bool          // a timestamp was seen
	big    [2]int32         // the largest packet of that side that was acknowledged
	near   [2]time.Duration // the shortest time in which that side acknowledged data; 0: not known
	slow   time.Duration    // the longest time that the client waited for an answer

	told     [2]clue.Set // what the kernel of that side's host says of its RST
	oldStamp bool        // the SYN's timestamp is older than an earlier one from its address
	found    *Facts
	odd      *Facts // of a segment that no TCP accepts
}

// Facts is what a capture shows of how a connection ended.
type Facts struct {
	Yes, No clue.Set // what is there, and what is known not to be there

	Author faults.Direction // which way the author's segments travel
	At     time.Duration    // when it showed
	Frame  int              // the segment that showed it
	Answer int              // the frame of the segment that it answers; 0: none

	Idle  time.Duration // the silence before
	Delay time.Duration // between the segment that it answers and the RST
	RTT   time.Duration // of the handshake, from where the capture was made; 0: not known
	TTL   [2]uint8      // of the RST, and of the author's other segments; 0: not known
	Above int           // the size of the largest packet that arrived
	Tries int           // how often the victim sent in vain
	ICMP  uint16        // type and code
}

// happened are the clues of which one says what happened.
var happened = clue.Of(clue.Reset, clue.Silence, clue.Unreachable, clue.WindowShut, clue.Unanswered, clue.HalfClosed, clue.Unacceptable)

// only says what happened.
func (f *Facts) only(c clue.Clue) {
	f.Yes |= clue.Of(c)
	f.No |= happened &^ clue.Of(c)
}

func (f *Facts) say(c clue.Clue, yes bool) {
	if yes {
		f.Yes |= clue.Of(c)
	} else {
		f.No |= clue.Of(c)
	}
}

// Frame says where in a capture a segment stands.
type Frame struct {
	At     time.Duration // since the start of the capture; it never decreases
	Number int           // from 1
	Iface  int           // which interface saw it
	Cut    bool          // the capture holds less than the TCP header: window and options are unknown
}

// Add takes a segment.
func (c *Conn) Add(fr Frame, dir faults.Direction, s packet.Segment) {
	flags, at := s.Flags(), fr.At
	seen := Seen{
		At: at, Last: at, Frame: int32(fr.Number), Dir: dir, Flags: flags, Seq: s.Seq(), End: s.End(), Ack: s.Ack(),
		Size: int32(s.HeaderLen() + s.PayloadLen()), Win: s.Window(), TTL: s.TTL(), id: s.ID(), iface: int32(fr.Iface),
	}
	var stamped bool
	seen.val, _, stamped = s.Timestamps()
	if c.same(&seen) {
		return
	}
	if flags.Has(packet.RST) {
		c.reset(&seen)
	} else {
		c.check(&seen, stamped && !fr.Cut)
	}
	known, awaited := c.flow.Half[dir.Flip()].Seen, c.flow.Turn == features.ClientSent
	seen.Kind, seen.Fresh = c.flow.Observe(at, dir, s, features.Passed)
	if flags.Has(packet.ACK) && known {
		c.acknowledged(dir.Flip(), seen.Ack, at)
	}
	if seen.Kind != features.RST {
		c.ttl[dir].set(seen.iface, seen.TTL)
	}
	if seen.Kind == features.SYN {
		c.isn[dir] = seen.Seq
	}
	if dir == faults.Reply && seen.Fresh && seen.Kind == features.Data && awaited {
		c.slow = max(c.slow, at-c.flow.Half[faults.Original].LastData)
	}
	c.seen[dir] = true
	c.keep(seen)
	if c.found != nil {
		c.after(&seen)
	}
}

// AddICMP takes an ICMP error that quotes a segment of the connection, which
// travelled in direction dir.
func (c *Conn) AddICMP(at time.Duration, frame int, dir faults.Direction, kind uint16, ttl uint8) {
	c.keep(Seen{At: at, Last: at, Frame: int32(frame), Dir: dir.Flip(), ICMP: kind, TTL: ttl})
	if c.found == nil {
		f := &Facts{Author: dir.Flip(), At: at, Frame: frame, ICMP: kind, Tries: 1}
		c.stage(f)
		f.only(clue.Unreachable)
		c.found = f
	}
}

// keep remembers a segment. One that its side sent before, with nothing else
// from that side since, is counted there.
func (c *Conn) keep(s Seen) {
	for i := len(c.log) - 1; i >= 0 && s.ICMP == 0; i-- {
		o := &c.log[i]
		if o.Dir != s.Dir || o.ICMP != 0 {
			continue
		}
		if o.Seq == s.Seq && o.End == s.End && o.Flags&^packet.PSH == s.Flags&^packet.PSH && (o.Ack == s.Ack || s.End != s.Seq) && o.Win == s.Win && !s.Fresh {
			if o.Again < 1<<16-1 {
				o.Again++
			}
			o.Last = s.At
			return
		}
		break
	}
	if len(c.log) == keep {
		copy(c.log, c.log[1:])
		c.log = c.log[:keep-1]
		c.cut = true
	}
	c.log = append(c.log, s)
}

// same reports whether the segment is a packet that was just seen, on another
// interface or by another tap: it has the identification and the timestamp of that
// one. Of a copy only the TTL counts.
func (c *Conn) same(s *Seen) bool {
	const apart = 20 * time.Millisecond
	for i := len(c.log) - 1; i >= 0 && s.At-c.log[i].Last <= apart; i-- {
		o := &c.log[i]
		if o.Dir == s.Dir && o.ICMP == 0 && o.iface != s.iface && o.id == s.id && o.val == s.val &&
			o.Seq == s.Seq && o.End == s.End && o.Ack == s.Ack && o.Flags == s.Flags {
			if !s.Flags.Has(packet.RST) {
				c.ttl[s.Dir].set(s.iface, s.TTL)
			}
			return true
		}
	}
	return false
}

// acknowledged notes the size of what arrived, and how long the way there and
// back took.
func (c *Conn) acknowledged(dir faults.Direction, ack packet.Seq, at time.Duration) {
	for i := len(c.log) - 1; i >= 0; i-- {
		o := &c.log[i]
		if o.Dir != dir || o.ICMP != 0 || o.Kind != features.Data || !o.End.LessEq(ack) {
			continue
		}
		c.big[dir] = max(c.big[dir], o.Size)
		if took := max(at-o.At, 1); o.End == ack && o.Again == 0 && (c.near[dir.Flip()] == 0 || took < c.near[dir.Flip()]) {
			c.near[dir.Flip()] = took
		}
		return
	}
}

// Forget makes c the zero Conn again, and keeps its memory for the next connection.
func (c *Conn) Forget() { *c = Conn{log: c.log[:0]} }

// OldTimestamp notes that the SYN's timestamp is older than an earlier one from
// the same address.
func (c *Conn) OldTimestamp() { c.oldStamp = true }

// Told notes what the kernel of an end's host says of the RST that it sends, in
// direction dir: one of the clues that begin with Kernel.
func (c *Conn) Told(dir faults.Direction, says clue.Clue) {
	c.told[dir] |= clue.Of(says) &^ clue.Of(clue.Count)
}

// Closed reports whether nothing more is expected of the connection.
func (c *Conn) Closed() bool { return c.flow.Closed() }

// Last is when its last segment was seen.
func (c *Conn) Last() time.Duration { return c.flow.Last }

// Began reports whether the capture has the connection's SYN.
func (c *Conn) Began() bool { return c.flow.Half[faults.Original].SYN }

// stage says how far the connection had come.
func (c *Conn) stage(f *Facts) {
	cl, sv := &c.flow.Half[faults.Original], &c.flow.Half[faults.Reply]
	f.RTT = c.rtt(f.Author)
	if !cl.SYN && cl.Bytes == 0 && sv.Bytes == 0 {
		return // the capture began, or shows, too little
	}
	connecting := cl.SYN && !sv.SYN && sv.Bytes == 0 && !sv.FIN && !sv.Seen
	handshake := cl.SYN && sv.SYN && sv.Bytes == 0 && !sv.FIN && (!cl.HasAck || cl.Acked.LessEq(c.isn[faults.Original].Add(1)))
	f.say(clue.Connecting, connecting)
	f.say(clue.Handshake, !connecting && handshake)
	f.say(clue.Open, !connecting && (!handshake || sv.HasAck))
}

// rtt is the time from where the capture was made to the end that sends in
// direction dir, and back.
func (c *Conn) rtt(dir faults.Direction) time.Duration {
	return time.Duration(c.flow.RTT[dir]) * time.Microsecond
}

// ISN is the sequence number of the client's SYN.
func (c *Conn) ISN() packet.Seq { return c.isn[faults.Original] }

// Tried is when the end that suffers first sent what was not answered: what
// answers others later is alive.
func (c *Conn) Tried() time.Duration {
	for _, dir := range []faults.Direction{faults.Original, faults.Reply} {
		if first, tries := c.unanswered(dir); first >= 0 && tries > 1 {
			return c.log[first].At
		}
	}
	return c.flow.Last
}
