package faults

import (
	"time"

	"github.com/faultctl/faultctl/faults/clue"
	"github.com/faultctl/faultctl/faults/packet"
)

var badSeqKind = Kind{
	Name: "bad-seq", Group: "reset",
	Cause:   "Segments with wrong sequence numbers and old duplicates: a confused middlebox, an attacker who guesses, or a connection that was already closed.",
	Symptom: "None: a healthy connection survives them, with an occasional challenge ACK.",
	Remedy:  "None is needed: this is a control experiment.",
	Example: "faultctl inject bad-seq --kind rst-in-window --interval 1s --to :5432",
	Ignored: true,
	Shows: []clue.Prediction{{
		Must:    clue.Of(clue.Unacceptable),
		Settles: "the TTL of the segment beside that of the host in whose name it came",
	}},
	New: func() Model { return new(BadSeq) },
}

// BadSeq is the fault bad-seq: segments with wrong numbers, or old duplicates.
// It is a control experiment: a healthy connection must survive them (RFC
// 5961 sections 3 to 5, RFC 7323 section 5).
type BadSeq struct {
	Kind     string        `knob:"kind" default:"rst-in-window" oneof:"rst-in-window|rst-old|rst-beyond|syn|old-data|old-ack|old-ts" help:"what arrives: a RST inside the window but not at its start, before the window or beyond it, a SYN, data that was received before, an ACK from long ago, data with an old timestamp"`
	Hit      Side          `knob:"hit" default:"client" help:"who receives it"`
	Interval time.Duration `knob:"interval" help:"time between two such segments; 0: one for each connection"`
}

// Validate implements Model.
func (m *BadSeq) Validate() error {
	if err := judge(m); err != nil {
		return err
	}
	if m.Interval > 0 && m.Interval < time.Millisecond {
		return wrong(m, "interval", "it lies outside of 1ms and more, or 0")
	}
	return nil
}

// Diverts implements Model: the numbers must be known.
func (m *BadSeq) Diverts() Diversion { return Diversion{SYN: true, All: true, Super: true} }

// Start implements Model.
func (m *BadSeq) Start() Instance {
	m = completed(m)
	return PerFlow(func() Fault { return &badSeq{m: m} })
}

type badSeq struct {
	m    *BadSeq
	sent bool
}

func (b *badSeq) OnSegment(ev *Event, out *Effects) Verdict {
	established := ev.Flow.Half[Original].HasAck && ev.Flow.Half[Reply].HasAck &&
		ev.Seg.PayloadLen() > 0 && !ev.Seg.Flags().Any(packet.SYN|packet.FIN|packet.RST)
	if b.sent || !established {
		return Pass
	}
	b.sent = true
	b.send(ev, out)
	return Pass
}

// OnWake implements Waker: once more.
func (b *badSeq) OnWake(ev *Event, out *Effects) { b.send(ev, out) }

func (b *badSeq) send(ev *Event, out *Effects) {
	for _, s := range [...]Side{Client, Server} {
		if b.m.Hit.Includes(s) {
			b.hit(ev, out, s)
		}
	}
	if b.m.Interval > 0 {
		out.Wake(b.m.Interval)
	} else {
		out.Release()
	}
}

// beyond lies outside of any window smaller than 512 MiB.
const beyond = 1 << 29

func (b *badSeq) hit(ev *Event, out *Effects, s Side) {
	toward := s.Other().Sends()
	f, ok := ev.Flow.Continue(toward, ev.At, packet.ACK)
	if !ok || ev.Flow.Half[toward].FIN {
		return
	}
	// After the segment that is being judged, which is not counted as passed yet.
	f.Seq = packet.Max(f.Seq, ev.Flow.Half[toward].Next)
	action, payload := Rewritten, []byte(nil)
	switch b.m.Kind {
	case "rst-in-window":
		f.Flags, f.Seq, action = packet.RST|packet.ACK, f.Seq.Add(10), SentRST
	case "rst-old":
		f.Flags, f.Seq, action = packet.RST|packet.ACK, f.Seq.Add(^uint32(0)), SentRST
	case "rst-beyond":
		f.Flags, f.Seq, action = packet.RST|packet.ACK, f.Seq.Add(beyond), SentRST
	case "syn":
		f.Flags, f.Seq = packet.SYN, f.Seq.Add(10)
	case "old-data":
		f.Seq, payload = f.Seq.Add(^uint32(0)), garbage
	case "old-ack":
		f.Ack = f.Ack.Add(^uint32(beyond))
	case "old-ts":
		val, ecr, stamped := f.Timestamps()
		if !stamped {
			return
		}
		f.SetTimestamps(val-1<<20, ecr)
		payload = garbage
	}
	out.ForgeAfter(behind, f, payload)
	out.Note(action, s, "a segment with wrong numbers")
}
