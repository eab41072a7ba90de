package faults

import (
	"time"

	"github.com/faultctl/faultctl/faults/clue"
	"github.com/faultctl/faultctl/faults/packet"
)

var closedSocketKind = Kind{
	Name: "closed-socket", Group: "reset",
	Cause:   "The server has called close, so it neither sends nor reads any more. Its FIN only says that it will not send, and the client goes on sending.",
	Symptom: "The first send succeeds, the next fails with EPIPE (Java: Broken pipe); recv returns 0. ECONNRESET appears only if the FIN was lost.",
	Remedy:  "Read to the end of the stream before reusing a connection; drain before close (shutdown, read to the end, close); retry what is idempotent on a new connection.",
	Example: "faultctl inject closed-socket --pass-response --to :8080",
	Verify:  []Verify{{Settings: "at=request"}, {Settings: "at=ready", Moment: readyMoment}},
	Shows: []clue.Prediction{{
		Must:    clue.Of(clue.Open, clue.Reset, clue.AnswerRST, clue.AuthorFIN),
		OneOf:   clue.Of(clue.ToData, clue.ToProbe),
		Settles: "whether this end had read the end of the stream before it sent again",
	}, {
		Must:    clue.Of(clue.Open, clue.Reset, clue.AnswerRST),
		OneOf:   clue.Of(clue.ToData, clue.ToProbe),
		Cannot:  clue.Of(clue.DeviceTTL, clue.TooSoon, clue.AuthorFIN),
		Rare:    true,
		Repeat:  "fin-lost=true",
		Settles: "a capture at the other end: whether it sent a FIN that did not arrive",
	}, {
		Must:    clue.Of(clue.Open, clue.HalfClosed),
		Settles: "sockets in CLOSE-WAIT at the end that probes (ss -t state close-wait): its application does not close",
	}},
	New: func() Model { return new(ClosedSocket) },
}

// ClosedSocket is the fault closed-socket: the server has called close, which
// means that it neither sends nor reads, while its FIN only says that it sends
// no more. The client goes on, and what it sends earns a RST (tcp_rcv_state_process
// in FIN_WAIT2, tcp_timewait_state_process).
type ClosedSocket struct {
	At           Trigger `knob:"at" alias:"after" default:"request" help:"when the server closes"`
	BytesOf      Side    `knob:"bytes-of" alias:"dir" help:"whose payload counts for --at bytes=N: the client's, the server's, or both"`
	PassResponse bool    `knob:"pass-response" help:"close only after the next answer has passed: all of it, until the server closes or pauses, or the client goes on"`
	FINLost      bool    `knob:"fin-lost" help:"the FIN is lost on the way to the client"`
	FINTimeout   Timeout `knob:"fin-timeout" default:"1m" help:"how long the closed socket keeps answering probes (net.ipv4.tcp_fin_timeout)"`
	RTT          RTT     `knob:"rtt" help:"how long an answer takes; auto: as long as the handshake did"`
}

// Validate implements Model.
func (m *ClosedSocket) Validate() error {
	if err := judge(m); err != nil {
		return err
	}
	return m.At.mayCount(m, m.BytesOf)
}

// Diverts implements Model.
func (m *ClosedSocket) Diverts() Diversion {
	at := completed(m).At
	return at.diverts().Union(Diversion{Whole: m.PassResponse || at.kind == atFIN}) // a FIN may carry data
}

// Start implements Model.
func (m *ClosedSocket) Start() Instance {
	m = completed(m)
	m.At = m.At.of(m.BytesOf)
	return PerFlow(func() Fault { return &closedSocket{m: m} })
}

type closedSocket struct {
	m            *ClosedSocket
	moment       moment
	due          bool          // the moment has come; with PassResponse the answer is awaited
	closed       bool          // the FIN has left, or was lost
	gone         bool          // nothing is left of the socket
	at           time.Duration // when it closed
	acked        time.Duration // when it last answered a segment without data
	ackedOK      bool
	acknowledged bool // its FIN was
	answer       answer

	next  packet.Seq    // SND.NXT of the closed socket, its FIN included
	wait  packet.Fields // what its ACKs look like
	finID uint16        // the IPv4 identification of its last FIN
	finDF bool
	again int // how often the FIN was sent again
}

func (c *closedSocket) OnSegment(ev *Event, out *Effects) Verdict {
	if c.closed {
		return c.afterClose(ev, out)
	}
	if !c.due {
		if !c.moment.onSegment(&c.m.At, ev, out) {
			return Pass
		}
		c.due = true
		out.Capture()
	}
	if ev.Seg.Flags().Any(packet.SYN | packet.RST) {
		c.answer.onSegment(ev, out)
		return Pass // no server closes a connection before accept has returned it
	}
	if !c.m.PassResponse {
		return c.close(ev, out)
	}
	if c.moment.probed() && ev.Dir.From() == c.moment.prober.asked && ev.Seg.SeqLen() == 0 {
		c.moment.prober = prober{} // only once: later bare ACKs are the flow's own
		return Drop
	}
	if c.answer.onSegment(ev, out) == notOver {
		return Pass
	}
	return c.close(ev, out)
}

// close sends the FIN, and judges the segment at which it happens.
func (c *closedSocket) close(ev *Event, out *Effects) Verdict {
	c.closed, c.at = true, ev.At
	fin, ok := ev.Flow.Continue(Reply, ev.At, packet.FIN|packet.ACK)
	if !ok {
		fin = ev.Flow.Device(Reply, 64, packet.FIN|packet.ACK, ev.Seg.Ack(), ev.Seg.Seq())
	}
	v, after := Drop, time.Duration(0)
	if ev.Dir == Reply {
		after = behind
		fin.Seq, fin.Ack, v = ev.Seg.Seq().Add(uint32(ev.Seg.PayloadLen())), ev.Seg.Ack(), Accept
		switch {
		case c.moment.probed(), ev.Seg.Flags().Has(packet.FIN) && ev.Seg.PayloadLen() == 0:
			v, fin.ID = Drop, ev.Seg.ID() // it takes the place of this one
		case ev.Seg.Flags().Has(packet.FIN) && ev.Seg.Complete():
			w := out.Copy(ev.Seg) // its data arrives
			w.SetFlags(w.Flags() &^ packet.FIN)
			w.UpdateChecksums()
			out.Replace(w)
		}
	} else {
		fin.Seq, fin.Ack = ev.Seg.Ack(), ev.Seg.Seq()
	}
	c.send(ev, fin, after, out)
	dispose(ev, out, Server)
	if ev.Dir == Original && !c.moment.probed() {
		c.afterClose(ev, out)
	}
	return v
}

// send sends the FIN, and remembers what the closed socket has sent.
func (c *closedSocket) send(ev *Event, fin packet.Fields, after time.Duration, out *Effects) {
	if !c.m.FINLost {
		out.ForgeAfter(after, fin, nil)
		out.Note(SentFIN, Client, "the server has closed")
		c.awaitACK(ev, out)
	} else {
		out.Note(Dropped, Client, "the server has closed, its FIN is lost")
	}
	c.next, c.finID, c.finDF = fin.Seq.Add(1), fin.ID, fin.DF
	c.wait = fin
	c.wait.Flags, c.wait.Seq, c.wait.ID, c.wait.DF = packet.ACK, c.next, 0, true
}

// closeAtRest sends the FIN while nothing travels.
func (c *closedSocket) closeAtRest(ev *Event, out *Effects) {
	if fin, ok := closing(ev, packet.FIN); ok {
		c.closed, c.at = true, ev.At
		c.send(ev, fin, 0, out)
		disposeAtRest(ev, out)
	}
}

// afterClose answers the client like the closed socket: data is answered by a
// RST, and from then on the socket is gone; a bare ACK is not answered; a probe is
// acknowledged, twice a second at most, until the socket's time is over.
func (c *closedSocket) afterClose(ev *Event, out *Effects) Verdict {
	switch {
	case ev.Dir == Reply, isBare(ev.Seg):
		return Drop
	case ev.Seg.PayloadLen() > 1 || c.gone || ev.At-c.at >= c.m.FINTimeout.d,
		ev.Seg.PayloadLen() == 1 && ev.Fresh:
		g := ghost{dead: Server, rtt: c.m.RTT}
		if !c.gone && ev.At-c.at < c.m.FINTimeout.d {
			g.label = c.wait.FlowLabel
		}
		c.gone = true
		return g.onSegment(ev, out, "the server has closed")
	case ev.Seg.Flags().Has(packet.FIN):
		c.acknowledgeFIN(ev, out)
	case !c.acknowledged && ev.Seg.Ack() == c.next:
		// The socket is replaced by its TIME_WAIT remainder (tcp_time_wait).
		c.acknowledged = true
		if val, _, ok := c.wait.Timestamps(); ok {
			if recent, _, stamped := ev.Seg.Timestamps(); stamped {
				c.wait.SetTimestamps(val, recent)
			}
		}
	case ev.Seg.Seq().Less(ev.Flow.Half[Original].Next): // a keepalive probe: one before what it sends next
		if !c.ackedOK || ev.At-c.acked >= 500*time.Millisecond {
			c.acked, c.ackedOK = ev.At, true
			c.acknowledge(ev, out, c.wait)
		}
	}
	return Drop
}

// acknowledgeFIN sends the ACK of the client's FIN. If it acknowledges the server's FIN
// as well, the socket itself answers it (tcp_fin in FIN_WAIT2), otherwise what is left of
// the socket. Both echo the newest timestamp (tcp_timewait_state_process).
func (c *closedSocket) acknowledgeFIN(ev *Event, out *Effects) {
	if val, _, ok := c.wait.Timestamps(); ok {
		if recent, _, stamped := ev.Seg.Timestamps(); stamped {
			c.wait.SetTimestamps(val, recent)
		}
	}
	f := c.wait
	if !c.acknowledged && ev.Seg.Ack() == c.next {
		c.acknowledged = true
		c.finID++
		f.ID, f.DF = c.finID, c.finDF
	}
	c.acknowledge(ev, out, f)
}

// acknowledge sends f as the ACK of a socket in FIN_WAIT2 or TIME_WAIT: its TSecr
// stays what it was (inet_twsk, tcp_timewait_state_process).
func (c *closedSocket) acknowledge(ev *Event, out *Effects, f packet.Fields) {
	f.Ack = packet.Max(f.Ack, ev.Seg.End())
	if val, ecr, ok := f.Timestamps(); ok {
		f.SetTimestamps(val+uint32((ev.At-c.at)/time.Millisecond), ecr)
	}
	c.m.RTT.answer(out, f)
}

// OnWake implements Waker: the connection has reached its age, or the answer is
// over because the server has paused.
func (c *closedSocket) OnWake(ev *Event, out *Effects) {
	switch {
	case c.closed:
		c.retransmit(ev, out)
	case !c.due:
		c.moment.onWake(&c.m.At, ev, out)
	case c.m.PassResponse && c.answer.onWake(ev, out):
		c.closeAtRest(ev, out)
	}
}

// A FIN that is not acknowledged is sent again after a round trip and RTO_MIN, first as
// a probe (tcp_send_loss_probe), and then ever less often (tcp_retransmit_timer), until
// nobody waits for the socket any more (tcp_orphan_retries).
const (
	rtoMin        = 200 * time.Millisecond // TCP_RTO_MIN
	orphanRetries = 8
)

// retransmit sends the FIN again, and sets the alarm for the next time.
func (c *closedSocket) retransmit(ev *Event, out *Effects) {
	if c.acknowledged || c.gone {
		return
	}
	c.again++
	c.finID++
	f := c.wait
	f.Flags, f.Seq, f.ID, f.DF = packet.FIN|packet.ACK, c.next.Add(^uint32(0)), c.finID, c.finDF
	if client := &ev.Flow.Half[Original]; client.Seen {
		f.Ack = packet.Max(f.Ack, client.Next)
		if val, ecr, ok := f.Timestamps(); ok {
			if client.Stamped && int32(client.TSVal-ecr) > 0 {
				ecr = client.TSVal
			}
			f.SetTimestamps(val+uint32((ev.At-c.at)/time.Millisecond), ecr)
		}
	}
	out.Forge(f, nil)
	c.awaitACK(ev, out)
}

// awaitACK sets the alarm for the FIN that is not acknowledged: each time as long again
// as the socket has waited, which doubles.
func (c *closedSocket) awaitACK(ev *Event, out *Effects) {
	if rto := rtoMin + ev.Flow.RTT; c.again <= orphanRetries {
		out.Wake(max(rto, ev.At-c.at))
	}
}
