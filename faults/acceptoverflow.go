package faults

import (
	"time"

	"github.com/faultctl/faultctl/faults/clue"
	"github.com/faultctl/faultctl/faults/packet"
)

var acceptOverflowKind = Kind{
	Name: "accept-overflow", Group: "reset",
	Cause:   "The accept queue is full when the handshake's last ACK arrives: the server drops the ACK, and the client believes that it is connected.",
	Symptom: "connect succeeds, and so does the first send, but nothing comes back: the kernel retransmits for a minute, then ECONNRESET. With tcp_abort_on_overflow=1 ECONNRESET comes at once.",
	Remedy:  "Set a deadline on the first answer, not only on connect; accept faster, or raise the backlog and net.core.somaxconn.",
	Example: "faultctl inject accept-overflow --room-after 5s --to :8080",
	Demo:    Demo{Settings: "room-after=900ms"},
	Verify:  []Verify{{Settings: "room-after=1s"}},
	Shows: []clue.Prediction{{
		Must:    clue.Of(clue.Handshake, clue.Silence),
		Cannot:  clue.Of(clue.Idle, clue.Unreachable),
		Likely:  clue.Of(clue.SYNACKAgain),
		Settles: "the counter ListenOverflows at the server (nstat)",
	}, {
		Must:    clue.Of(clue.Handshake, clue.Reset, clue.AnswerRST, clue.ToACK),
		Cannot:  clue.Of(clue.DeviceTTL),
		Repeat:  "abort=true",
		Settles: "the counter ListenOverflows at the server (nstat), and its sysctl tcp_abort_on_overflow",
	}, { // the queue has room again before the server sends its SYN-ACK again
		Must:    clue.Of(clue.Handshake, clue.Silence, clue.Recovered),
		Cannot:  clue.Of(clue.Idle, clue.Unreachable),
		Settles: "the counter ListenOverflows at the server (nstat); if it does not grow, the segment was lost",
	}},
	New: func() Model { return new(AcceptOverflow) },
}

// AcceptOverflow is the fault accept-overflow: the handshake's last ACK finds
// the accept queue full and is dropped, as is everything that the client
// sends after it (tcp_v4_syn_recv_sock). The client believes that it is connected.
// What the server sends is genuine: it retransmits its SYN-ACK and, once it has
// given up, answers the next segment with a RST.
type AcceptOverflow struct {
	Abort     bool          `knob:"abort" help:"as with tcp_abort_on_overflow=1: send a RST at once"`
	RoomAfter time.Duration `knob:"room-after" help:"how long after the SYN the queue has room again; 0: never"`
}

// embryoLife is how long a server keeps a connection whose last ACK it has not
// seen: five retransmissions of the SYN-ACK (tcp_synack_retries).
const embryoLife = 64 * time.Second

// Validate implements Model.
func (m *AcceptOverflow) Validate() error {
	if err := judge(m); err != nil {
		return err
	}
	if m.Abort && m.RoomAfter > 0 {
		return wrong(m, "room-after", "it means nothing with abort, which ends the connection at once")
	}
	return nil
}

// Diverts implements Model: a flow is captured by its SYN.
func (m *AcceptOverflow) Diverts() Diversion { return Diversion{SYN: true, Super: true} }

// Start implements Model.
func (m *AcceptOverflow) Start() Instance {
	m = completed(m)
	return PerFlow(func() Fault { return &acceptOverflow{m: m} })
}

type acceptOverflow struct {
	m       *AcceptOverflow
	begun   time.Duration
	started bool
	aborted bool
}

func (a *acceptOverflow) OnSegment(ev *Event, out *Effects) Verdict {
	syn := ev.Seg.Flags().Has(packet.SYN)
	if !a.started {
		if !syn {
			out.Release() // it was accepted long ago
			return Pass
		}
		a.started, a.begun = true, ev.At
		out.Capture()
	}
	switch {
	case a.aborted:
		return ghost{dead: Both}.onSegment(ev, out, "the accept queue was full")
	case syn || ev.Dir == Reply:
		return Pass
	case ev.At-a.begun >= a.life():
		out.Release()
		return Pass
	case a.m.Abort:
		a.aborted = true
		dispose(ev, out, Server)
		return ghost{dead: Server}.onSegment(ev, out, "the accept queue is full")
	}
	out.Note(Dropped, Server, "the accept queue is full")
	return Drop
}

// life is how long the queue stays full, or the server remembers the SYN.
func (a *acceptOverflow) life() time.Duration {
	if a.m.RoomAfter > 0 {
		return a.m.RoomAfter
	}
	return embryoLife
}
