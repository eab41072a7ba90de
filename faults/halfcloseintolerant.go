package faults

import (
	"github.com/faultctl/faultctl/faults/clue"
	"github.com/faultctl/faultctl/faults/packet"
)

var halfCloseKind = Kind{
	Name: "half-close-intolerant", Group: "reset",
	Cause:   "A proxy, or the server itself, takes the client's FIN for a close, although it only says that the client has sent everything. It drops the answer and closes.",
	Symptom: "A client that shuts down its sending side after the request (shutdown(SHUT_WR), nc -N) reads the end of the stream instead of the answer; with abort, recv fails with ECONNRESET. The server's answer earns a RST.",
	Remedy:  "Do not announce the end of a request by shutdown: send its length, or an end mark, and close only when the answer has arrived. Take the end of the stream before the whole answer for a failure.",
	Example: "faultctl inject half-close-intolerant --to :8080",
	Demo:    Demo{HalfClose: true},
	Verify:  []Verify{{Moment: "Have the command shut down its sending side (shutdown(SHUT_WR)) while it waits for an answer."}},
	Shows: []clue.Prediction{{
		Must:    clue.Of(clue.Open, clue.Reset, clue.ActiveRST, clue.VictimFIN, clue.AwaitsAnswer),
		Repeat:  "abort=true",
		Settles: "whether the client shuts down its sending side (shutdown in strace), and whether the answer comes if it does not",
	}},
	New: func() Model { return new(HalfCloseIntolerant) },
}

// HalfCloseIntolerant is the fault half-close-intolerant: a proxy or server takes
// the client's FIN, which only ends one direction (RFC 9293 section 3.6), for a close
// of both. Its program reads the end of the stream and calls close, so its kernel
// acknowledges the client's FIN and sends its own, or a RST if it closes abortively.
//
// It strikes a client whose request is unanswered when its FIN has arrived, at once,
// and one whose answer goes on after that, at its next data. What the server sends
// from then on is swallowed and answered by a RST, as by the proxy's closed socket.
// Connections that both ends close are left alone.
type HalfCloseIntolerant struct {
	Abort bool `knob:"abort" help:"it closes abortively: the client gets a RST instead of a FIN"`
	RTT   RTT  `knob:"rtt" help:"how long an answer takes; auto: as long as the handshake did"`
}

// Validate implements Model.
func (m *HalfCloseIntolerant) Validate() error { return judge(m) }

// Diverts implements Model: whose turn it is when the FIN comes, only all segments
// tell.
func (m *HalfCloseIntolerant) Diverts() Diversion { return Diversion{SYN: true, All: true} }

// Start implements Model.
func (m *HalfCloseIntolerant) Start() Instance {
	m = completed(m)
	return PerFlow(func() Fault { return &halfClose{m: m} })
}

type halfClose struct {
	m        *HalfCloseIntolerant
	asked    bool // the client's payload is the last that was seen
	finished bool // the client has sent its FIN
	closed   bool // the client was told

	fin  packet.Seq // one past the client's FIN
	next packet.Seq // SND.NXT of the closed socket, its FIN included; without abort
}

const halfCloseNote = "the client's FIN was taken for a close"

func (h *halfClose) OnSegment(ev *Event, out *Effects) Verdict {
	seg := ev.Seg
	data := seg.PayloadLen() > 0 && ev.Fresh
	switch {
	case h.closed:
		return h.afterClose(ev, out)
	case seg.Flags().Has(packet.RST):
		out.Release()
	case ev.Dir == Original:
		h.asked = h.asked || data
		if seg.Flags().Has(packet.FIN) {
			h.finished, h.fin = true, seg.End()
		}
	case !h.finished || !seg.Flags().Has(packet.ACK) || seg.Ack().Less(h.fin):
		h.asked = h.asked && !data // the server has not seen the FIN yet
	case data:
		return h.inPlace(ev, out)
	case seg.Flags().Has(packet.FIN):
		out.Release() // it closes by itself
	case h.asked && seg.Flags() == packet.ACK && seg.PayloadLen() == 0:
		h.close(ev, out, seg.Seq())
		f := h.closing(ev, seg.Seq())
		f.ID = seg.ID() + 1
		out.ForgeAfter(behind, f, nil)
	}
	return Pass
}

// close begins the close: the end of the server's stream is at that number.
func (h *halfClose) close(ev *Event, out *Effects, at packet.Seq) {
	h.closed, h.next = true, at.Add(1)
	out.Capture()
	if h.m.Abort {
		out.Note(SentRST, Client, halfCloseNote)
	} else {
		out.Note(SentFIN, Client, halfCloseNote)
	}
}

// inPlace has the close take the place of data of the server.
func (h *halfClose) inPlace(ev *Event, out *Effects) Verdict {
	seq := ev.Seg.Seq()
	h.close(ev, out, seq)
	dispose(ev, out, Server)
	if h.m.Abort {
		out.Replace(packet.AbortInPlace(out.Copy(ev.Seg)))
		return Accept
	}
	w := out.Copy(ev.Seg)
	w.SetFlags(packet.FIN | packet.ACK)
	w = w.CutPayload()
	w.UpdateChecksums()
	out.Replace(w)
	return Accept
}

// closing is the FIN or RST of the closing socket, with that sequence number.
func (h *halfClose) closing(ev *Event, seq packet.Seq) packet.Fields {
	flags := packet.FIN | packet.ACK
	if h.m.Abort {
		flags = packet.RST | packet.ACK
	}
	f, _ := ev.Flow.Like(Reply, ev.At, flags)
	f.Seq, f.Ack = seq, h.fin
	return f
}

// afterClose judges a segment after the client was told. The closed socket says its
// FIN again until the client has it. The server's data and FIN find the proxy's other
// socket closed.
func (h *halfClose) afterClose(ev *Event, out *Effects) Verdict {
	switch {
	case ev.Dir == Reply:
		if ev.Seg.SeqLen() > 0 {
			dispose(ev, out, Server)
		}
	case h.m.Abort:
		return ghost{dead: Server, rtt: h.m.RTT}.onSegment(ev, out, halfCloseNote)
	case ev.Seg.Flags().Has(packet.FIN) && ev.Seg.Ack().Less(h.next):
		h.m.RTT.answer(out, h.closing(ev, h.next.Add(^uint32(0))))
	}
	return Drop
}
