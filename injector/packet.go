package injector

import (
	"fmt"
	"strings"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
)

// Packet is a packet of a chosen connection, see Config.OnPacket: one that entered user
// space, as it came, or one that was sent in its place or in addition.
type Packet struct {
	Time   time.Time // when it came; for a packet that is sent, when it leaves, which may be in the future
	Bytes  []byte    // from the IP header on, maybe cut short; valid until OnPacket returns
	Length int       // of the whole packet
	Hook   Hook      // where it was judged; Output for packets that are sent
	Fate   Fate
	Delay  time.Duration // time between arrival and departure; 0: it left at once
	Behind bool          // it is delayed only because an older one of its direction is held

	Flow       Flow
	FromServer bool   // its source is the server, also if it is forged
	Rule       int    // ordinal of the first rule that chose the connection
	Ordinal    uint64 // the connection's ordinal within that rule, from 0

	Fault string        // the fault that decided; empty if none did
	Notes []faults.Note // why the fault decided so; valid until OnPacket returns
}

// Hook is the place in the kernel's path of a packet where it was judged.
type Hook uint8

// The hooks.
const (
	Input Hook = iota
	Forward
	Output
)

func (h Hook) String() string { return [...]string{"input", "forward", "output"}[min(h, Output)] }

// Fate says what became of a packet.
type Fate uint8

// The fates. The first four are those of packets as they came, the others those
// of packets that were sent.
const (
	Passed      Fate = iota // accepted as it was
	Dropped                 // not accepted
	Delayed                 // accepted as it was, later: see Late
	Rewritten               // sent as a different packet: see Replacement
	Replacement             // what a rewritten packet was sent as
	Late                    // a delayed packet, as it leaves
	Forged                  // made by a fault
)

func (f Fate) String() string {
	return [...]string{"passed", "dropped", "delayed", "rewritten", "replacement", "late", "forged"}[min(f, Forged)]
}

// Came reports whether the packet came from the network, rather than from
// this run.
func (f Fate) Came() bool { return f <= Rewritten }

// Comment says in one line what was done to the packet, by which fault, and
// why. It is empty for a packet that passed.
func (p *Packet) Comment() string {
	var b strings.Builder
	by := ""
	if p.Fault != "" && !(p.Behind && (p.Fate == Delayed || p.Fate == Late)) {
		by = " by " + p.Fault
	}
	switch p.Fate {
	case Passed:
		return ""
	case Dropped:
		b.WriteString("dropped" + by)
	case Delayed:
		fmt.Fprintf(&b, "delayed for %s%s", p.Delay.Round(time.Microsecond), by)
	case Rewritten:
		fmt.Fprintf(&b, "rewritten%s; the next packet is what it went on as", by)
	case Replacement:
		fmt.Fprintf(&b, "put in place of the packet before%s", by)
	case Late:
		fmt.Fprintf(&b, "went on %s after it came, delayed%s", p.Delay.Round(time.Microsecond), by)
	case Forged:
		b.WriteString("forged" + by)
	}
	if p.Delay >= time.Microsecond && (p.Fate == Rewritten || p.Fate == Replacement || p.Fate == Forged) {
		fmt.Fprintf(&b, ", leaves after %s", p.Delay.Round(time.Microsecond))
	}
	for i, n := range p.Notes {
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		fmt.Fprintf(&b, "%s%s to %s, %s", sep, n.Action, n.To, n.Reason)
	}
	if p.Behind && (p.Fate == Delayed || p.Fate == Late) {
		b.WriteString(": an older packet of its direction is still held")
	}
	fmt.Fprintf(&b, " (rule %d, connection %d)", p.Rule, p.Ordinal)
	return b.String()
}

// Describer writes packets in tcpdump's words. Sequence numbers count from the
// first that it sees of each side. The zero value is ready; it is for one
// goroutine.
type Describer struct {
	first map[flowEnd]packet.Seq
}

// flowEnd is one end of a connection.
type flowEnd struct {
	Flow
	server bool
}

// describedEnds bounds how many ends a Describer remembers; beyond that it
// starts over, with new first sequence numbers.
const describedEnds = 1 << 14

// Describe returns a line about p, the ends not named.
func (d *Describer) Describe(p *Packet) string {
	s, err := packet.Parse(p.Bytes)
	if err != nil {
		return fmt.Sprintf("ICMP error, %d bytes", p.Length)
	}
	if d.first == nil || len(d.first) > describedEnds {
		d.first = map[flowEnd]packet.Seq{}
	}
	src, dst := flowEnd{p.Flow, p.FromServer}, flowEnd{p.Flow, !p.FromServer}
	start, known := d.first[src]
	if flags := s.Flags(); flags.Has(packet.SYN) || !known && !flags.Has(packet.RST) {
		start = s.Seq()
		d.first[src] = start
	}
	var b strings.Builder
	fmt.Fprintf(&b, "[%s]", s.Flags())
	if n := uint32(s.PayloadLen()); n > 0 {
		fmt.Fprintf(&b, " seq %d:%d", uint32(s.Seq()-start), uint32(s.Seq()-start)+n)
	} else if s.Flags().Any(packet.SYN | packet.FIN | packet.RST) {
		fmt.Fprintf(&b, " seq %d", uint32(s.Seq()-start))
	}
	if s.Flags().Has(packet.ACK) {
		other, known := d.first[dst]
		if !known {
			other = s.Ack()
			d.first[dst] = other
		}
		fmt.Fprintf(&b, " ack %d", uint32(s.Ack()-other))
	}
	fmt.Fprintf(&b, " win %d", s.Window())
	if n := s.PayloadLen(); n > 0 {
		fmt.Fprintf(&b, " length %d", n)
	}
	return b.String()
}
