package faults

import "github.com/faultctl/faultctl/faults/packet"

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
	// peer's own FIN: its application has closed, so nothing is read from it any more.
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

// withhold drops the last bytes of each segment that ends what the side had to send:
// TCP pushes it. In the middle of an answer it would make a hole, and what passes
// behind a hole is not read. If the close does not come, TCP retransmits the bytes,
// and then they pass.
func (c *abortiveClose) withhold(ev *Event, out *Effects) Verdict {
	n := ev.Seg.PayloadLen()
	if c.discard == 0 || n == 0 || !ev.Fresh || !ev.Seg.Flags().Has(packet.PSH) {
		return Pass
	}
	if n <= c.discard || !ev.Seg.Complete() {
		return Drop
	}
	out.Replace(out.Copy(ev.Seg).Truncate(n - c.discard))
	return Accept
}

// Park implements Parker.
func (c *abortiveClose) Park() (uint64, bool) { return 0, !c.done }

// Unpark implements Parker.
func (*abortiveClose) Unpark(uint64) {}
