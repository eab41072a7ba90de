package faults

import (
	"time"

	"github.com/faultctl/faultctl/faults/clue"
	"github.com/faultctl/faultctl/faults/packet"
)

var connectStallKind = Kind{
	Name: "connect-stall", Group: "reset",
	Cause:   "The handshake takes longer than the application waits: a distant or overloaded server, a slow firewall.",
	Symptom: "connect runs into the application's own timeout; the SYN-ACK that arrives later finds no socket and is answered with a RST.",
	Remedy:  "Set a connect timeout above the slowest normal handshake, and retry; keep spare connections in the pool.",
	Example: "faultctl inject connect-stall --for 5s --to :443",
	Demo:    Demo{Settings: "for=2s"},
	Verify:  []Verify{{Settings: "for=1s"}},
	Shows: []clue.Prediction{{
		Must:    clue.Of(clue.Handshake, clue.Reset, clue.AnswerRST, clue.ToSYNACK),
		Settles: "the connect timeout of the client beside the time that the SYN-ACK took",
	}},
	New: func() Model { return new(ConnectStall) },
}

// ConnectStall is the fault connect-stall: the handshake takes longer than the
// application waits. SYN-ACKs and their retransmissions arrive late, in order;
// a client that gave up answers them with a genuine RST.
type ConnectStall struct {
	For time.Duration `knob:"for" default:"5s" help:"how long the handshake is held after the first SYN-ACK"`
}

// Validate implements Model.
func (m *ConnectStall) Validate() error {
	if err := judge(m); err != nil {
		return err
	}
	if m.For > time.Hour {
		return wrong(m, "for", "it lies outside of 0 (not included) to 1h")
	}
	return nil
}

// Diverts implements Model.
func (m *ConnectStall) Diverts() Diversion {
	return Diversion{SYN: true, SYNACK: true, Whole: true, NoCapture: true, Super: true}
}

// Start implements Model.
func (m *ConnectStall) Start() Instance {
	m = completed(m)
	return PerFlow(func() Fault { return &connectStall{m: m} })
}

type connectStall struct {
	m     *ConnectStall
	until time.Duration
	begun bool
}

func (c *connectStall) OnSegment(ev *Event, out *Effects) Verdict {
	if !ev.Seg.Flags().Has(packet.SYN | packet.ACK) {
		return Pass
	}
	if !c.begun {
		c.begun, c.until = true, ev.At+c.m.For
		out.Note(Delayed, Client, "the handshake stalls")
	}
	out.Delay(max(0, c.until-ev.At))
	return Pass
}
