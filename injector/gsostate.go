package injector

import (
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
)

// gsoState is what is known of how the host cuts up a flow's packets.
type gsoState struct {
	full     packet.Seq    // the first byte of a packet handed back, whose first segment will be a full one
	sees     bool          // full is set
	unit     int           // length of a full segment with all its headers, by which Linux counts; 0: not known
	at       time.Duration // when that was seen
	requeued uint64        // the batch in which a packet was handed back last; 0: none

	id   uint16 // the identification of the next packet, if this one was cut as is known
	told bool   // id is set
}

// sizeFor is for how long it is believed how long segments are. Other signs may
// tell sooner that it has changed, see cutting.doubt, but over IPv6 another path MTU
// shows by nothing else.
const sizeFor = time.Second

// doubt forgets how long segments are if a packet says that it has changed: the one
// before it was cut into another number, for Linux numbers the segments that a socket
// sends. What is not numbered may say so by being sent again: perhaps it was too long.
// If something is missing before it, what passed unjudged took the numbers. before is
// what its side had sent before.
func (c *gsoState) doubt(s packet.Segment, before *faults.Half) {
	switch {
	case !s.DF():
		if again(s, before) {
			c.unit = 0
		}
	case c.told && s.ID() != c.id && !(before.Seen && before.Next.Less(s.Seq())):
		c.unit = 0
	}
}

// again reports whether a packet is sent again.
func again(s packet.Segment, before *faults.Half) bool {
	return s.PayloadLen() > 0 && before.Seen && s.Seq().Less(before.Next)
}

// count takes down that a packet stands for so many segments, 0 if that is not
// known.
func (c *gsoState) count(s packet.Segment, n int) {
	c.id, c.told = s.ID()+uint16(n), n > 0
}

// size is how long the payload of each segment of a packet that stands for several is but the last,
// and false if that is not known for sure.
func (c *gsoState) size(s packet.Segment, before *faults.Half, now time.Duration) (int, bool) {
	size := c.unit - s.HeaderLen()
	switch n := s.PayloadLen(); {
	case c.unit == 0 || now-c.at > sizeFor:
	case !s.Complete() || len(s.Bytes()) >= nfqueue.MaxCopied || s.Flags()&^(packet.ACK|packet.PSH|packet.FIN) != 0: // for the kernel to cut
	case size <= 0 || n <= size: // it would not stand for several
	case n%size != 0 && !s.Flags().Any(packet.PSH|packet.FIN): // the last one of what was written may be short
	case again(s, before): // perhaps it was too long
	default:
		return size, true
	}
	return 0, false
}

// learn looks at a segment that the kernel has cut.
func (c *gsoState) learn(s packet.Segment, now time.Duration) {
	if c.sees && s.Seq() == c.full && s.PayloadLen() > 0 {
		c.unit, c.at, c.sees = s.HeaderLen()+s.PayloadLen(), now, false
	}
}
