package faults

import "github.com/faultctl/faultctl/faults/packet"

// The window of an end that has stopped reading.

// window is the window that the stalled side offers: up to the edge that it offered
// last, rounded up (tcp_select_window). If that edge is unknown, the window closes
// with the first data that stays unread.
func (s *stall) window(ev *Event, unread bool) uint16 {
	if !s.hasEdge {
		s.edge, s.hasEdge = s.offered(ev)
	}
	window, scale := ev.Seg.Window(), s.scale(ev.Flow)
	switch left := int64(s.edge.Sub(ev.Seg.Ack())); {
	case s.hasEdge && left > 0:
		return uint16(min(int64(window), (left+1<<scale-1)>>scale))
	case s.hasEdge || unread:
		return 0
	}
	return window
}

// offered is the right edge of the window that the segment offers, if it can be
// known. The window of a SYN is never scaled (RFC 7323 section 2.2); if the SYN was
// not seen, the scale is unknown.
func (s *stall) offered(ev *Event) (packet.Seq, bool) {
	if !ev.Flow.Half[ev.Dir].SYN || !ev.Seg.Flags().Has(packet.ACK) {
		return 0, false
	}
	scale := s.scale(ev.Flow)
	if ev.Seg.Flags().Has(packet.SYN) {
		scale = 0
	}
	return ev.Seg.Ack().Add(uint32(ev.Seg.Window()) << scale), true
}

// scale is the shift count of the stalled side: none unless both offered one
// (RFC 7323 section 2.2).
func (s *stall) scale(f *Flow) int8 {
	from, peer := &f.Half[s.m.Side.Sends()], &f.Half[s.m.Side.Sends().Flip()]
	if from.Scale < 0 || peer.Scale < 0 {
		return 0
	}
	return from.Scale
}
