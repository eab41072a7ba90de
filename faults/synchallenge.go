package faults

import (
	"time"

	"github.com/faultctl/faultctl/faults/clue"
	"github.com/faultctl/faultctl/faults/packet"
)

var synChallengeKind = Kind{
	Name: "syn-challenge", Group: "reset",
	Cause:   "A SYN on a reused port meets an old connection that the server, or a firewall or NAT before it, still takes for alive: the client's host was restarted, or a NAT gave its port to another client.",
	Symptom: "connect takes longer: the SYN is answered by a challenge ACK for the old connection, the client's kernel resets that one and sends the SYN again, within milliseconds on Linux since 5.6, after a second elsewhere. Where the RST does not arrive (rst-lost) connect hangs until it times out.",
	Remedy:  "Give connect a timeout that allows for a second SYN, and retry. Do not bind clients to fixed source ports; have the server find dead connections by keepalive or TCP_USER_TIMEOUT; let firewalls pass RSTs.",
	Example: "faultctl inject syn-challenge --percent 10 --to :8080",
	Shows: []clue.Prediction{{
		Must:    clue.Of(clue.Connecting, clue.Unacceptable),
		Settles: "whether the server has a connection from that address and port already (ss -tn), and what its TcpExtTCPSYNChallenge counts (nstat)",
	}},
	New: func() Model { return new(SYNChallenge) },
}

// SYNChallenge is the fault syn-challenge: the SYN of a new connection meets an old
// one on the same addresses and ports. Its end answers with a challenge ACK, which
// has the old connection's numbers (RFC 5961 section 4, tcp_send_challenge_ack), at
// most one in 500 ms. That acknowledges something that the client never sent, so it
// answers with a RST (RFC 9293 section 3.10.7.3), which ends the old connection, and
// its next SYN passes. Linux sends that one at once the first time
// (tcp_rcv_synsent_state_process), other systems after their first timeout.
type SYNChallenge struct {
	RSTLost bool `knob:"rst-lost" help:"the client's RST is lost on the way, so the old connection lives on and no SYN gets through"`
	RTT     RTT  `knob:"rtt" help:"how long an answer takes; auto: at once, since nothing is known of the path yet"`
}

// Validate implements Model.
func (m *SYNChallenge) Validate() error { return judge(m) }

// Diverts implements Model.
func (m *SYNChallenge) Diverts() Diversion {
	return Diversion{SYN: true, RST: true, NoCapture: true, Super: true}
}

// Start implements Model.
func (m *SYNChallenge) Start() Instance {
	m = completed(m)
	return PerFlow(func() Fault { return &synChallenge{m: m} })
}

type synChallenge struct {
	m    *SYNChallenge
	over bool // the old connection was reset, or there is none

	met  bool // the old connection's numbers are known
	seq  packet.Seq
	ack  packet.Seq
	id   uint16
	val  uint32 // its timestamps
	ecr  uint32
	born time.Duration // when val was so

	answered   bool
	answeredAt time.Duration
}

// challengeLimit is the shortest time between two challenge ACKs of a socket
// (net.ipv4.tcp_invalid_ratelimit).
const challengeLimit = 500 * time.Millisecond

func (c *synChallenge) OnSegment(ev *Event, out *Effects) Verdict {
	flags := ev.Seg.Flags()
	switch {
	case c.over:
		return Pass
	case ev.Dir == Reply || !flags.Any(packet.SYN|packet.RST):
		c.over = true // it was open before
		out.Release()
		return Pass
	case flags.Has(packet.RST):
		if !c.answered || ev.Seg.Seq() != c.ack {
			return Pass
		}
		c.over = !c.m.RSTLost
		return Drop
	}
	c.challenge(ev, out)
	return Drop
}

// challenge answers a SYN like the old connection's end.
func (c *synChallenge) challenge(ev *Event, out *Effects) {
	out.Note(Dropped, Server, "the SYN meets an old connection on the same ports")
	if c.answered && ev.At-c.answeredAt < challengeLimit {
		return
	}
	c.answered, c.answeredAt = true, ev.At
	if !c.met {
		c.meet(ev)
	}
	f := ev.Flow.Device(Reply, 64, packet.ACK, c.seq, c.ack)
	f.Window, f.ID, f.FlowLabel = 501, c.id, c.ecr&0xfffff|1
	c.id++
	if _, _, ok := ev.Seg.Timestamps(); ok {
		f.SetTimestamps(c.val+uint32((ev.At-c.born)/time.Millisecond), c.ecr)
	}
	c.m.RTT.answer(out, f)
}

// meet makes up the old connection: its numbers are anywhere but where the new SYN's
// would be acknowledged.
func (c *synChallenge) meet(ev *Event) {
	c.met, c.born = true, ev.At
	c.seq = packet.Seq(ev.Rand.Uint32())
	c.ack = ev.Seg.Seq().Add(1<<30 + ev.Rand.Uint32()>>2)
	c.val, c.ecr, c.id = ev.Rand.Uint32(), ev.Rand.Uint32(), uint16(1+ev.Rand.Uint32()>>17)
}
