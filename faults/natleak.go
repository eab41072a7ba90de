package faults

import (
	"github.com/faultctl/faultctl/faults/clue"
	"github.com/faultctl/faultctl/faults/packet"
)

var natLeakKind = Kind{
	Name: "nat-leak", Group: "reset",
	Cause:   "Connection tracking calls a segment invalid, because it lies outside of the window or came too late, so NAT does not translate it and it arrives from an address that its receiver's host does not know. That host answers with a RST, which resets the sender (Kubernetes services, container bridges).",
	Symptom: "The server's next call fails with ECONNRESET. The client knows nothing: a read waits, its next write succeeds, and then ECONNRESET (connection reset by peer).",
	Remedy:  "Drop what connection tracking calls invalid (ct state invalid drop), or set nf_conntrack_tcp_be_liberal=1. In the client: a deadline on reads, validation of pooled connections, retries of what is idempotent.",
	Example: "faultctl inject nat-leak --percent 1 --to :8080",
	Verify:  []Verify{{Settings: "at=response"}, {Settings: "at=ready", Moment: readyMoment}},
	Shows: []clue.Prediction{{
		Must:    clue.Of(clue.Open, clue.Reset, clue.AnswerRST, clue.ToData),
		Cannot:  clue.Of(clue.AuthorFIN, clue.Idle, clue.DeviceTTL, clue.TooSoon),
		Rare:    true,
		Settles: "the invalid packets that the NAT counts (conntrack -S), and a capture at each end: a segment with an untranslated address earned a RST",
	}},
	New: func() Model { return new(NATLeak) },
}

// NATLeak is the fault nat-leak: a segment leaves a NAT untranslated, because
// connection tracking calls it invalid (nf_conntrack_tcp_packet, unless
// net.netfilter.nf_conntrack_tcp_be_liberal is set). Its receiver's host has no such
// connection and answers with a RST to where the segment really came from, which is
// its sender, whose connection is reset. The other end learns of it with its own next
// segment, which passes: its peer's host, where the connection is gone, answers with a
// RST.
type NATLeak struct {
	At      Trigger `knob:"at" default:"response" help:"when a segment leaks: at that moment, or with the next segment of that side"`
	BytesOf Side    `knob:"bytes-of" help:"whose payload counts for --at bytes=N: the client's, the server's, or both"`
	Side    Side    `knob:"side" default:"server" help:"whose segment leaks: that end is reset, the other one learns of it later"`
	RTT     RTT     `knob:"rtt" help:"how long an answer takes; auto: as long as the handshake did"`
}

// Validate implements Model.
func (m *NATLeak) Validate() error {
	if err := judge(m); err != nil {
		return err
	}
	if m.Side == Both {
		return wrong(m, "side", "it is the end whose segment leaks: client or server")
	}
	return m.At.mayCount(m, m.BytesOf)
}

// Diverts implements Model.
func (m *NATLeak) Diverts() Diversion { return completed(m).At.diverts() }

// Start implements Model.
func (m *NATLeak) Start() Instance {
	m = completed(m)
	m.At = m.At.of(m.BytesOf)
	return PerFlow(func() Fault { return &natLeak{m: m} })
}

type natLeak struct {
	m       *NATLeak
	trigger trigger
	due     bool // the moment has come
	leaked  bool
}

func (n *natLeak) OnSegment(ev *Event, out *Effects) Verdict {
	if n.leaked {
		return Pass // the kernels do the rest
	}
	if !n.due {
		if !n.trigger.onSegment(&n.m.At, ev, out) {
			return Pass
		}
		n.due = true
		out.Capture()
	}
	switch flags := ev.Seg.Flags(); {
	case flags.Has(packet.RST):
		out.Release()
	case ev.Dir.From() == n.m.Side && flags.Has(packet.ACK) && !flags.Has(packet.SYN):
		n.leaked = true
		out.Release()
		return ghost{dead: n.m.Side.Other(), closed: true, rtt: n.m.RTT}.onSegment(ev, out, "its segment leaked from a NAT untranslated")
	}
	return Pass
}

// OnWake implements Waker: the connection has reached its age.
func (n *natLeak) OnWake(_ *Event, out *Effects) {
	if !n.due && n.trigger.onWake(&n.m.At) {
		n.due = true
		out.Capture()
	}
}
