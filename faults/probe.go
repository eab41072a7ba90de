package faults

import (
	"time"

	"github.com/faultctl/faultctl/faults/packet"
)

// prober learns the exact sequence numbers of a flow that passed unseen.
// It sends one end a segment that lies outside of its window: an ACK without
// timestamps and one byte of garbage. Such a segment is always answered by a
// bare ACK that carries SND.NXT and RCV.NXT (RFC 9293 section 3.10.7.4,
// tcp_validate_incoming and tcp_send_dupack; no rate limit, since it carries
// data). The answer is swallowed. The application sees nothing.
type prober struct {
	asked Side // the end that was asked; AnySide: none yet
	tries int
}

const (
	probeAgain = 250 * time.Millisecond
	probeTries = 3

	// probeOffset puts the probe as far from the window as it goes, so that it
	// lies outside however much has passed unseen.
	probeOffset = 1<<31 - 5

	// probeAck acknowledges data that was never sent: should the probe fall
	// into the window after all, the segment is discarded for that (tcp_ack),
	// garbage and all.
	probeAck = 1 << 30
)

var garbage = []byte{0}

// ask sends a probe to one end of the flow and asks to be woken if no answer
// comes. It reports false if there is nothing to ask with, or after the last
// try.
func (p *prober) ask(ev *Event, out *Effects) bool {
	if p.tries == probeTries {
		return false
	}
	if p.asked == AnySide {
		p.asked = Server
		if !ev.Flow.Half[Reply].Seen {
			p.asked = Client
		}
	}
	p.tries++
	from, peer := &ev.Flow.Half[p.asked.Sends()], &ev.Flow.Half[p.asked.Sends().Flip()]
	base := from.Ack
	if !from.HasAck {
		base = peer.Next
	}
	toward := p.asked.Other().Sends()
	f := ev.Flow.Device(toward, 64, packet.ACK, base.Add(probeOffset), from.Next.Add(probeAck))
	out.Forge(f, garbage)
	out.Wake(probeAgain)
	return true
}
