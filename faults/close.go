package faults

import (
	"errors"

	"github.com/faultctl/faultctl/faults/packet"
)

// LingerReset is the fault linger-reset: a close with SO_LINGER on and a time
// of zero sends a RST where a FIN would go, and what was not yet sent is lost
// (tcp_disconnect, tcp_send_active_reset).
type LingerReset struct {
	Side    Side  `knob:"side" help:"whose close it is"`
	Discard Bytes `knob:"discard" help:"so many bytes before the close never arrive; the tail of each message then waits for TCP to send it again"`
	RTT     RTT   `knob:"rtt" help:"how long an answer takes; auto: as long as the handshake did"`
}

// Validate implements Model.
func (m *LingerReset) Validate() error {
	if m.Discard > 1<<20 {
		return errors.New("discard: more than a megabyte is never unsent")
	}
	return nil
}

// Diverts implements Model.
func (m *LingerReset) Diverts() Diversion {
	// The SYN-ACK for the round trip time; whole, because a FIN may carry data.
	return Diversion{SYN: true, SYNACK: true, FIN: true, All: m.Discard > 0, Whole: true}
}

// New implements Model.
func (m *LingerReset) New() Fault {
	return &abortiveClose{side: m.Side, discard: int(m.Discard), rtt: m.RTT, note: "closed with SO_LINGER 0"}
}

// RSTClose is the fault rst-close: a proxy such as HAProxy closes with a RST
// instead of a FIN, to be rid of TIME_WAIT. Nothing is lost by it.
type RSTClose struct {
	Side Side `knob:"side" help:"who closes so"`
	RTT  RTT  `knob:"rtt" help:"how long an answer takes; auto: as long as the handshake did"`
}

// Validate implements Model.
func (m *RSTClose) Validate() error { return nil }

// Diverts implements Model.
func (m *RSTClose) Diverts() Diversion {
	return Diversion{SYN: true, SYNACK: true, FIN: true, Whole: true}
}

// New implements Model.
func (m *RSTClose) New() Fault {
	return &abortiveClose{side: m.Side, rtt: m.RTT, note: "closed with a RST instead of a FIN"}
}

// abortiveClose turns a FIN into the RST that the same socket would have sent.
type abortiveClose struct {
	side    Side // whose FIN
	discard int
	rtt     RTT
	note    string

	closer Side
	done   bool
}

func (c *abortiveClose) OnSegment(ev *Event, out *Effects) Verdict {
	if c.done {
		return ghost{dead: c.closer, rtt: c.rtt}.onSegment(ev, out, c.note)
	}
	if !c.side.Includes(ev.Dir.From()) {
		return Pass
	}
	if !ev.Seg.Flags().Has(packet.FIN) {
		return c.withhold(ev, out)
	}
	c.done, c.closer = true, ev.Dir.From()
	out.Capture()
	out.Note(SentRST, ev.Dir.To(), c.note)
	// The socket that sent the FIN waits for its acknowledgment and for the
	// peer's own FIN: its application has closed, nobody reads what it learns.
	dispose(ev, out, c.closer)
	w := out.Copy(ev.Seg)
	if c.discard > 0 {
		if expects, ok := ev.Flow.Expects(ev.Dir); ok {
			w.SetSeq(expects) // what was withheld is lost
		}
	} else if n := ev.Seg.PayloadLen(); n > 0 {
		// The last data and the FIN in one segment: the data arrives, the RST
		// follows it.
		return c.split(ev, out)
	}
	out.Replace(packet.AbortInPlace(w))
	return Accept
}

// split lets the data of a segment pass without its FIN, and sends the RST
// behind it.
func (c *abortiveClose) split(ev *Event, out *Effects) Verdict {
	rst := packet.Abort(ev.Seg)
	rst.Seq = ev.Seg.Seq().Add(uint32(ev.Seg.PayloadLen()))
	rst.ID++
	out.ForgeAfter(behind, rst, nil)
	w := out.Copy(ev.Seg)
	w.SetFlags(ev.Seg.Flags() &^ packet.FIN)
	w.UpdateChecksums()
	out.Replace(w)
	return Accept
}

// behind is the least time that makes a forged segment leave after the segment
// that caused it.
const behind = 1

// withhold keeps back the last bytes of what the side sends. If nothing is
// lost, TCP sends them again, and then they pass.
func (c *abortiveClose) withhold(ev *Event, out *Effects) Verdict {
	n := ev.Seg.PayloadLen()
	if c.discard == 0 || n == 0 || !ev.Fresh {
		return Pass
	}
	if n <= c.discard || !ev.Seg.Complete() {
		return Drop
	}
	out.Replace(out.Copy(ev.Seg).Truncate(n - c.discard))
	return Accept
}
