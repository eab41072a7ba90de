// Package packet reads and writes TCP segments inside raw IPv4 and IPv6
// packets.
//
// A [Segment] is a view on the bytes of one packet: nothing is copied and
// nothing allocated. [Fields] is a segment still to be built. The shapes of a
// reset that a real host sends are functions of the segment that provokes
// them: see [Answer], [DeviceAnswer] and [Abort].
package packet
