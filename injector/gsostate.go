package injector

import (
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
)

// gsoState is what is known about how the host segments a flow's packets.
type gsoState struct {
	full     packet.Seq    // the first byte of a requeued packet; its first segment will have the full size
	sees     bool          // full is set
	unit     int           // length of a full segment with all headers, as Linux counts it; 0: not known
	at       time.Duration // when unit was seen
	requeued uint64        // the batch in which a packet was last requeued; 0: none

	id   uint16 // the IP identification of the next packet, if this one was segmented as expected
	told bool   // id is set
}

// sizeFor is how long a known segment size is trusted. Other signs may show earlier
// that it has changed, see gsoState.doubt, but over IPv6 nothing else shows a new
// path MTU.
const sizeFor = time.Second

// doubt forgets the segment size if a packet shows that it has changed: by its IP
// identification, since Linux numbers the segments that a socket sends, the packet
// before it became a different number of segments. Packets without such numbers can
// show it by a retransmission: perhaps the original was too long. If data before this
// packet was not seen, unseen packets used the numbers. before is what this side had
// sent before.
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

// again reports whether a packet is a retransmission.
func again(s packet.Segment, before *faults.Half) bool {
	return s.PayloadLen() > 0 && before.Seen && s.Seq().Less(before.Next)
}

// count records how many segments a packet stands for; 0 if that is not known.
func (c *gsoState) count(s packet.Segment, n int) {
	c.id, c.told = s.ID()+uint16(n), n > 0
}

// size returns the payload length of each segment but the last of a packet that stands
// for several, and false if that is not certain.
func (c *gsoState) size(s packet.Segment, before *faults.Half, now time.Duration) (int, bool) {
	size := c.unit - s.HeaderLen()
	switch n := s.PayloadLen(); {
	case c.unit == 0 || now-c.at > sizeFor:
	case !s.Complete() || len(s.Bytes()) >= nfqueue.MaxCopied || s.Flags()&^(packet.ACK|packet.PSH|packet.FIN) != 0: // the kernel must segment it
	case size <= 0 || n <= size: // it would be one segment
	case n%size != 0 && !s.Flags().Any(packet.PSH|packet.FIN): // the last segment of a write may be short
	case again(s, before): // perhaps it was too long
	default:
		return size, true
	}
	return 0, false
}

// learn takes the segment size from a segment that the kernel made.
func (c *gsoState) learn(s packet.Segment, now time.Duration) {
	if c.sees && s.Seq() == c.full && s.PayloadLen() > 0 {
		c.unit, c.at, c.sees = s.HeaderLen()+s.PayloadLen(), now, false
	}
}
