package faults

import (
	"time"

	"github.com/faultctl/faultctl/faults/clue"
	"github.com/faultctl/faultctl/faults/packet"
)

var halfOpenKind = Kind{
	Name: "half-open", Group: "reset",
	Cause:   "One end is gone and the other does not know: it crashed, lost power or was restarted, or its FIN was lost on the way.",
	Symptom: "A reader never notices. A writer's first write succeeds; if the peer is back, its RST makes the next call fail with ECONNRESET, then EPIPE; if it is not, the kernel retransmits until ETIMEDOUT.",
	Remedy:  "Send heartbeats at the application level, or enable TCP keepalive with short times; set TCP_USER_TIMEOUT; give every read a deadline.",
	Example: "faultctl inject half-open --peer rebooted --at now --to :6379",
	Verify:  []Verify{{Settings: "at=request"}, {Settings: "at=ready", Moment: readyMoment}},
	Shows: []clue.Prediction{{
		Must:    clue.Of(clue.Open, clue.Reset, clue.AnswerRST),
		OneOf:   clue.Of(clue.ToData, clue.ToProbe, clue.ToFIN),
		Cannot:  clue.Of(clue.AuthorFIN, clue.DeviceTTL, clue.TooSoon),
		Repeat:  "peer=rebooted",
		Settles: "when the other host was started (uptime), or moved; whether its other connections ended at the same time",
	}, {
		Must:    clue.Of(clue.Open, clue.Silence),
		Cannot:  clue.Of(clue.LargeOnly, clue.OthersLive, clue.Recovered),
		Repeat:  "peer=crashed",
		Settles: "whether the other host answers anything else (ping, other ports)",
	}, {
		Must:    clue.Of(clue.Open, clue.Unreachable),
		Repeat:  "peer=crashed,unreachable=true",
		Settles: "the router that sent the error",
	}},
	New: func() Model { return new(HalfOpen) },
}

// HalfOpen is the fault half-open (RFC 9293 section 3.5.1): one end is gone and
// the other does not know. A crashed peer is silent; a rebooted one answers
// every segment with a RST, because it knows nothing of the connection; the FIN
// of one that closed was lost.
type HalfOpen struct {
	At          Trigger       `knob:"at" default:"request" help:"when the peer dies"`
	BytesOf     Side          `knob:"bytes-of" alias:"dir" help:"whose payload counts for --at bytes=N: the client's, the server's, or both"`
	Peer        string        `knob:"peer" default:"rebooted" oneof:"crashed|rebooted|closed" help:"what happened to the peer"`
	Down        time.Duration `knob:"down" help:"how long the peer is silent before it is back and answers"`
	Side        Side          `knob:"side" default:"server" help:"which end dies: server or client"`
	Unreachable bool          `knob:"unreachable" help:"while the peer is silent, a router on the path answers host unreachable"`
	RTT         RTT           `knob:"rtt" help:"how long an answer takes; auto: as long as the handshake did"`
}

// Validate implements Model.
func (m *HalfOpen) Validate() error {
	if err := judge(m); err != nil {
		return err
	}
	switch {
	case m.Side == Both:
		return wrong(m, "side", "it is the end that dies: client or server")
	case m.Peer == "crashed" && m.Down > 0:
		return wrong(m, "down", "a crashed peer does not come back: peer must be rebooted or closed")
	}
	return m.At.mayCount(m, m.BytesOf)
}

// Diverts implements Model.
func (m *HalfOpen) Diverts() Diversion {
	return completed(m).At.diverts().Union(Diversion{Whole: m.Unreachable}) // an ICMP error quotes the segment
}

// Start implements Model.
func (m *HalfOpen) Start() Instance {
	m = completed(m)
	m.At = m.At.of(m.BytesOf)
	return PerFlow(func() Fault { return &halfOpen{m: m} })
}

type halfOpen struct {
	m       *HalfOpen
	trigger trigger
	router  router
	died    time.Duration
	dead    bool

	answered bool
}

func (h *halfOpen) OnSegment(ev *Event, out *Effects) Verdict {
	if !h.dead {
		if !h.trigger.onSegment(&h.m.At, ev, out) {
			return Pass
		}
		h.die(ev, out)
	}
	switch {
	case ev.Dir.From() == h.m.Side:
		return Drop // it is dead: the real process behind it is not heard
	case h.m.Peer == "crashed" || ev.At-h.died < h.m.Down:
		if h.m.Unreachable {
			h.router.refuse(ev, out, "host")
			return Drop
		}
		out.Note(Dropped, h.m.Side, "the peer is down")
		return Drop
	}
	if h.m.Peer == "closed" && late(ev) {
		return Drop
	}
	g := ghost{dead: h.m.Side, rtt: h.m.RTT}
	if h.m.Peer == "closed" && !h.answered {
		// Its socket, which its program has left, answers once and is then gone.
		h.answered, g.label = true, ev.Flow.Half[ev.Dir.Flip()].Label
	}
	return g.onSegment(ev, out, "the peer knows nothing of the connection")
}

// late reports whether the segment is a bare ACK for what the peer sent before
// it closed. The closed socket, in FIN_WAIT_1 with its FIN in flight, takes it
// silently (tcp_rcv_state_process). A keepalive probe has a sequence number one
// lower and no longer finds a socket.
func late(ev *Event) bool {
	next, known := ev.Flow.Expects(ev.Dir)
	return ev.Seg.Flags() == packet.ACK && ev.Seg.PayloadLen() == 0 && known && !ev.Seg.Seq().Less(next)
}

// OnWake implements Waker: the connection has reached its age.
func (h *halfOpen) OnWake(ev *Event, out *Effects) {
	if !h.dead && h.trigger.onWake(&h.m.At) {
		h.die(ev, out)
	}
}

// bury implements burier: a host that was started anew has no socket that could answer.
func (h *halfOpen) bury(ev *Event, out *Effects) {
	if h.dead && h.m.Side == Server && h.m.Peer == "rebooted" && ev.At-h.died >= h.m.Down {
		disposeAtRest(ev, out)
	}
}

func (h *halfOpen) die(ev *Event, out *Effects) {
	h.dead, h.died = true, ev.At
	out.Capture()
	out.Note(Held, h.m.Side.Other(), "the peer is gone")
}
