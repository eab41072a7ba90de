package faults

import (
	"time"

	"github.com/faultctl/faultctl/faults/clue"
	"github.com/faultctl/faultctl/faults/packet"
)

var keepaliveDropKind = Kind{
	Name: "keepalive-drop", Group: "reset",
	Cause:   "A node on the path does not forward TCP keepalive probes, as some mobile core networks do not.",
	Symptom: "An idle connection with keepalive dies although both ends are alive: ETIMEDOUT at the end that probes, ECONNRESET at the other, at the same moment.",
	Remedy:  "Send heartbeats in the application's own protocol instead of relying on TCP keepalive.",
	Example: "faultctl inject keepalive-drop --to :5222",
	Demo:    Demo{Keepalive: true, Quiet: 4 * time.Second},
	Verify:  []Verify{{Moment: "Have the command leave a connection with TCP keepalive idle for longer than the keepalive interval."}},
	Shows: []clue.Prediction{{
		Must:    clue.Of(clue.Open, clue.Reset, clue.ActiveRST, clue.ProbesIgnored),
		Settles: "a capture at the other end: whether the probes arrive, and whether they are answered",
	}},
	New: func() Model { return new(KeepaliveDrop) },
}

// KeepaliveDrop is the fault keepalive-drop: a node on the way does not carry
// keepalive probes (RFC 9293 section 3.8.4), or loses some of them. Data always
// passes, and so does the RST of a kernel that has given up.
type KeepaliveDrop struct {
	Answers bool `knob:"answers" help:"let the probes pass and drop their answers"`
	Count   int  `knob:"count" help:"only the first N of each connection are lost; 0: all"`
}

// Validate implements Model.
func (m *KeepaliveDrop) Validate() error { return judge(m) }

// Diverts implements Model: probes and their answers are small.
func (m *KeepaliveDrop) Diverts() Diversion {
	return Diversion{SYN: true, Small: true, NoCapture: true, Super: true}
}

// Start implements Model.
func (m *KeepaliveDrop) Start() Instance {
	m = completed(m)
	return PerFlow(func() Fault { return &keepaliveDrop{m: m} })
}

type keepaliveDrop struct {
	m      *KeepaliveDrop
	lost   int // so many so far; with Count
	probed bool
	by     Side       // who sent the last probe
	answer packet.Seq // what its answer acknowledges
}

func (k *keepaliveDrop) OnSegment(ev *Event, out *Effects) Verdict {
	switch {
	case k.m.Count > 0 && k.lost >= k.m.Count:
		out.Release()
	case k.isProbe(ev):
		if k.m.Answers {
			k.probed, k.by, k.answer = true, ev.Dir.From(), ev.Seg.Seq().Add(1)
			return Pass
		}
		k.lost++
		out.Note(Dropped, ev.Dir.To(), "a keepalive probe does not pass")
		return Drop
	case k.probed && ev.Dir.To() == k.by && ev.Seg.PayloadLen() == 0 && ev.Seg.Ack() == k.answer:
		k.probed = false
		k.lost++
		out.Note(Dropped, k.by, "the answer to a keepalive probe does not pass")
		return Drop
	}
	return Pass
}

// isProbe recognises the shape: nothing but ACK, at most one byte, and a
// sequence number one before what its sender sends next. That number is known
// from what its peer acknowledged: a probe is sent when all has been.
func (k *keepaliveDrop) isProbe(ev *Event) bool {
	if ev.Seg.Flags() != packet.ACK || ev.Seg.PayloadLen() > 1 {
		return false
	}
	from, peer := &ev.Flow.Half[ev.Dir], &ev.Flow.Half[ev.Dir.Flip()]
	next := from.Next
	if peer.HasAck {
		next = packet.Max(next, peer.Ack)
	}
	return ev.Seg.Seq().Add(1) == next
}
