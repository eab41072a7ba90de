package faults

import "github.com/faultctl/faultctl/faults/packet"

var unreadCloseKind = Kind{
	Name: "unread-close", Group: "reset",
	Cause:   "A server closes while its socket holds data that it has not read: two requests were sent and one was read, or an upload was answered early.",
	Symptom: "The answer can be read, then recv fails with ECONNRESET. A client that is still sending gets ECONNRESET from send although the answer waits in its receive buffer.",
	Remedy:  "Server: read to the end, or shut down for writing and drain, before close. Client: after an error on send, read what has arrived.",
	Example: "faultctl inject unread-close --to :8080",
	New:     func() Model { return new(UnreadClose) },
}

// UnreadClose is the fault unread-close: a server closes while data that it has
// not read waits in its socket. TCP then resets instead of closing (RFC 2525
// section 2.17, __tcp_close): the answer, or as much of it as has left, and
// then a RST.
type UnreadClose struct {
	Pass Bytes `knob:"pass" help:"how much of the answer arrives; 0: its first segment, whole"`
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
	m     *UnreadClose
	asked bool
	done  bool
	left  int // bytes of the answer that may still arrive
}

func (u *unreadClose) OnSegment(ev *Event, out *Effects) Verdict {
	n := ev.Seg.PayloadLen()
	switch {
	case u.done:
		return ghost{dead: Server, rtt: u.m.RTT}.onSegment(ev, out, "closed with unread data")
	case ev.Dir == Original:
		if n > 0 && !u.asked {
			u.asked, u.left = true, int(u.m.Pass)
		}
		return Pass
	case !u.asked || n == 0 || !ev.Fresh:
		return Pass
	case u.m.Pass > 0 && n < u.left:
		u.left -= n
		return Pass
	}
	u.done = true
	out.Capture()
	out.Note(SentRST, Client, "closed with unread data")
	rst, arrives := packet.Abort(ev.Seg), n
	if u.m.Pass > 0 && u.left < n && ev.Seg.Complete() {
		arrives = u.left
		w := out.Copy(ev.Seg)
		w.SetFlags(w.Flags() &^ packet.FIN)
		out.Replace(w.Truncate(arrives))
	} else if ev.Seg.Flags().Has(packet.FIN) {
		w := out.Copy(ev.Seg)
		w.SetFlags(w.Flags() &^ packet.FIN)
		w.UpdateChecksums()
		out.Replace(w)
	}
	rst.Seq = ev.Seg.Seq().Add(uint32(arrives))
	rst.ID++
	out.ForgeAfter(behind, rst, nil)
	dispose(ev, out, Server)
	return Accept
}
