package faults

import (
	"github.com/faultctl/faultctl/faults/packet"

	"github.com/faultctl/faultctl/faults/clue"
)

var unreadCloseKind = Kind{
	Name: "unread-close", Group: "reset",
	Cause:   "A server closes while its socket holds data that it has not read: two requests were sent and one was read, or an upload was answered early.",
	Symptom: "The answer can be read, then recv fails with ECONNRESET. A client that is still sending gets ECONNRESET from send although the answer waits in its receive buffer.",
	Remedy:  "Server: read to the end, or shut down for writing and drain, before close. Client: after an error on send, read what has arrived.",
	Example: "faultctl inject unread-close --to :8080",
	Verify:  []Verify{{Moment: "The reset comes right after an answer: have the command use the connection again."}},
	Shows: []clue.Prediction{{
		Must:    clue.Of(clue.Open, clue.Reset, clue.ActiveRST),
		Cannot:  clue.Of(clue.ProbesIgnored, clue.KernelAborted),
		Settles: "explain live at that host: its kernel says that data was unread (TCP_ABORT_ON_CLOSE in tcp:tcp_send_reset; its counter TCPAbortOnClose)",
	}},
	New: func() Model { return new(UnreadClose) },
}

// UnreadClose is the fault unread-close: a server closes while data that it has
// not read waits in its socket. TCP then resets instead of closing (RFC 2525
// section 2.17, __tcp_close): the answer, or as much of it as has left, and
// then a RST.
type UnreadClose struct {
	Pass Bytes `knob:"pass" help:"how much of the answer arrives; 0: all of it, until the server closes or pauses, or the client goes on"`
	RTT  RTT   `knob:"rtt" help:"how long an answer takes; auto: as long as the handshake did"`
}

// Validate implements Model.
func (m *UnreadClose) Validate() error { return judge(m) }

// Diverts implements Model.
func (m *UnreadClose) Diverts() Diversion { return Diversion{SYN: true, All: true, Whole: true} }

// Start implements Model.
func (m *UnreadClose) Start() Instance {
	m = completed(m)
	return PerFlow(func() Fault { return &unreadClose{m: m} })
}

type unreadClose struct {
	m      *UnreadClose
	asked  bool
	done   bool
	left   int // bytes of the answer that may still arrive; with Pass
	answer answer
}

const unreadNote = "closed with unread data"

func (u *unreadClose) OnSegment(ev *Event, out *Effects) Verdict {
	n := ev.Seg.PayloadLen()
	switch {
	case u.done:
		return ghost{dead: Server, rtt: u.m.RTT}.onSegment(ev, out, unreadNote)
	case !u.asked:
		if ev.Dir == Original && n > 0 {
			u.asked, u.left = true, int(u.m.Pass)
		}
		return Pass
	}
	switch u.answer.onSegment(ev, out) {
	case overWithIt:
		return u.endAt(ev, out, n)
	case overBefore:
		u.end(ev, out, true)
		dispose(ev, out, Server)
		return Drop
	}
	if u.m.Pass == 0 || ev.Dir == Original || n == 0 || !ev.Fresh {
		return Pass
	}
	if n < u.left {
		u.left -= n
		return Pass
	}
	return u.endAt(ev, out, n)
}

// endAt has the answer end with a segment of the server, of which as many bytes
// arrive as may. The RST follows it; it takes the place of a FIN without data.
func (u *unreadClose) endAt(ev *Event, out *Effects, arrives int) Verdict {
	u.done = true
	out.Capture()
	out.Note(SentRST, Client, unreadNote)
	dispose(ev, out, Server)
	fin := ev.Seg.Flags().Has(packet.FIN)
	cut := u.m.Pass > 0 && u.left < arrives
	rst := packet.Abort(ev.Seg)
	switch {
	case arrives == 0:
		out.Replace(packet.AbortInPlace(out.Copy(ev.Seg)))
		return Accept
	case !ev.Seg.Complete():
		rst.Seq = ev.Seg.End() // it cannot be changed, FIN and all
	case cut || fin:
		if cut {
			arrives = u.left
		}
		w := out.Copy(ev.Seg)
		w.SetFlags(w.Flags() &^ packet.FIN)
		out.Replace(w.Truncate(arrives))
		fallthrough
	default:
		rst.Seq = ev.Seg.Seq().Add(uint32(arrives))
	}
	rst.ID++
	out.ForgeAfter(behind, rst, nil)
	return Accept
}

// end has the answer end after what the server has sent. The RST acknowledges all
// that the client has sent: the server's kernel has it, its program does not. It
// answers a segment of the client, or comes by itself.
func (u *unreadClose) end(ev *Event, out *Effects, asked bool) {
	u.done = true
	out.Capture()
	rst, ok := closing(ev, packet.RST)
	if !ok {
		return
	}
	out.Note(SentRST, Client, unreadNote)
	if asked {
		u.m.RTT.answer(out, rst)
	} else {
		out.Forge(rst, nil)
	}
}

// OnWake implements Waker: the answer is over if the server has paused.
func (u *unreadClose) OnWake(ev *Event, out *Effects) {
	if !u.done && u.answer.onWake(ev, out) {
		u.end(ev, out, false)
		disposeAtRest(ev, out)
	}
}
