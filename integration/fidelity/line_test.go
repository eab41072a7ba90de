package fidelity

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/lab"
)

// line is a segment reduced to what two runs have in common: sequence numbers are
// relative to each side's first, and identifications and flow labels to that
// side's previous ones.
type line struct {
	Way      string // C>S or S>C
	Flags    string // in tcpdump's letters
	Seq, Ack uint32
	Len      int
	Window   uint16
	Stamps   string // TS, "TS old" if it echoes an older timestamp than the last one, or ""
	Options  string // the others, in their order
	TTL, TOS uint8
	ID       string // IPv4: 0, +n since this side's last one, or "any" for its first
	DF       bool
	Label    string // IPv6: "own" if it is the same as this side's last one, "0", or "other"
	ICMP     string // an error that quotes such a segment, and its sender
	Again    bool   // sent before: a retransmission or a probe
	Soon     bool   // a RST that arrives less than a round trip after what it answers; only if the path is long
}

// stack returns the segments that the end's TCP sent and received.
func (p *play) stack(e *end) []lab.Captured {
	var out []lab.Captured
	for _, s := range p.ofConnection(e, e.stack.Packets(p.port)) {
		mine := s.SrcPort() == p.port // sent by the client
		switch {
		case s.ICMP != nil && !s.Out && mine == (e.side == faults.Client):
			out = append(out, s) // it quotes what the end sent
		case s.ICMP == nil && (mine == (e.side == faults.Client)) == s.Out:
			out = append(out, s)
		}
	}
	return out
}

// wire returns the segments that the end's interfaces showed. On loopback those of
// both ends are together.
func (p *play) wire(e *end) []lab.Captured {
	var out []lab.Captured
	for _, c := range e.wire {
		out = append(out, p.ofConnection(e, c.Packets(p.port))...)
	}
	slices.SortStableFunc(out, func(a, b lab.Captured) int { return a.At.Compare(b.At) })
	return out
}

// ofConnection leaves out what is not of the connection, although it has its port.
func (p *play) ofConnection(e *end, segs []lab.Captured) []lab.Captured {
	return slices.DeleteFunc(segs, func(s lab.Captured) bool {
		server := pick(s.SrcPort() == p.port, s.Dst(), s.Src())
		return s.At.Before(p.since) || p.called.IsValid() && e.side == faults.Client && server != p.called
	})
}

// lines reduces segments. How often a segment was retransmitted depends on timing,
// so any number of retransmissions is one line.
func (p *play) lines(e *end, segs []lab.Captured) []line {
	r := reducer{p: p, e: e, sides: map[string]*sideState{}}
	var out []line
	again := map[string]bool{}
	for _, s := range segs {
		l := r.reduce(s)
		if again[l.key()] {
			continue
		}
		again[l.key()] = l.Again || p.cause.provokes && l.Flags == "R"
		out = append(out, l)
	}
	return out
}

// reducer keeps what numbers are relative to.
type reducer struct {
	p     *play
	e     *end
	sides map[string]*sideState
}

type sideState struct {
	based bool
	base  packet.Seq
	next  packet.Seq
	sent  map[string]bool
	id    uint16
	label uint32
	seen  bool

	open    bool       // its SYN was seen; only if the ports are reused
	foreign packet.Seq // the last number of another connection that it acknowledged

	// What the side must echo (TS.Recent, RFC 7323 section 4.3): the timestamp of
	// the last segment that began no later than what it had acknowledged.
	recent   uint32
	acked    packet.Seq
	hasAcked bool

	unanswered []asked
}

// asked is a segment that a RST may answer: its acknowledgment number is the RST's
// sequence number.
type asked struct {
	ack  packet.Seq
	data bool
	at   time.Time
}

// answers returns when the segment that a RST answers was sent. It prefers
// segments with data.
func (f *sideState) answers(rst packet.Seq) (time.Time, bool) {
	for _, data := range []bool{true, false} {
		for n, a := range f.unanswered {
			if a.ack == rst && a.data == data {
				f.unanswered = slices.Delete(f.unanswered, n, n+1)
				return a.at, true
			}
		}
	}
	return time.Time{}, false
}

func (r *reducer) side(way string) *sideState {
	if r.sides[way] == nil {
		r.sides[way] = &sideState{sent: map[string]bool{}}
	}
	return r.sides[way]
}

func (r *reducer) reduce(s lab.Captured) line {
	way, back := "C>S", "S>C"
	if s.SrcPort() != r.p.port {
		way, back = back, way
	}
	from, peer := r.side(way), r.side(back)
	flags := s.Flags()
	l := line{Way: way, Flags: flags.String(), Len: s.PayloadLen(), Window: s.Window(), TTL: s.TTL(), TOS: s.TOS(), DF: s.DF()}
	if s.ICMP != nil {
		return r.icmp(s, l)
	}
	if r.p.cause.asks && way == "C>S" && isProbe(s) {
		l.Seq, l.Ack = uint32(s.Seq()-from.base), uint32(s.Ack()-peer.base)
		return l // it is not part of the stream
	}
	literal := flags.Has(packet.RST) && s.Seq() == 0 // shape C
	if r.p.cause.reused && flags.Has(packet.SYN) {
		from.based, from.open, from.id = false, true, 0
	}
	if !from.based && !literal {
		from.based, from.base, from.next = true, s.Seq(), s.Seq()
		if !flags.Has(packet.SYN) {
			from.base = s.Seq() - 1
		}
	}
	if !literal {
		l.Seq = uint32(s.Seq() - from.base)
	}
	if flags.Has(packet.ACK) {
		if !peer.based {
			peer.based, peer.base = true, s.Ack()-1
		}
		l.Ack = uint32(s.Ack() - peer.base)
	} else if s.Ack() != 0 && flags.Has(packet.RST) {
		l.Ack = uint32(s.Ack()) // must be zero: show it if it is not
	}
	if l.Flags == "R" {
		at, ok := peer.answers(s.Seq())
		// Three quarters of a round trip: faultctl measures it on a busy machine.
		l.Soon = r.p.cause.far && ok && s.At.Sub(at) < 3*pathDelay/2
	} else if flags.Has(packet.ACK) {
		from.unanswered = append(from.unanswered, asked{s.Ack(), s.PayloadLen() > 0, s.At})
	}
	if r.p.cause.reused && !r.side("S>C").open {
		r.foreign(s, &l, from, peer)
	}
	r.repeats(s, &l, from)
	r.options(s, &l, from, peer)
	r.stream(s, &l, from)
	return l
}

// foreign leaves out the numbers of another connection, and keeps only whether the
// RST that answers a segment has its acknowledgment number.
func (r *reducer) foreign(s lab.Captured, l *line, from, peer *sideState) {
	switch {
	case l.Flags == ".":
		l.Seq, l.Ack, from.foreign = 0, 0, s.Ack()
	case l.Flags == "R" && s.Seq() == peer.foreign:
		l.Seq = 0
	}
}

// isProbe recognizes the segment with which faultctl probes an end for its
// sequence numbers.
func isProbe(s lab.Captured) bool {
	_, _, stamped := s.Timestamps()
	return s.PayloadLen() == 1 && s.Window() == 0 && !stamped
}

// repeats recognizes retransmissions.
func (r *reducer) repeats(s lab.Captured, l *line, from *sideState) {
	if s.Flags().Has(packet.RST) {
		return
	}
	what := fmt.Sprint(s.Seq(), s.PayloadLen(), s.Flags()&^packet.PSH)
	switch {
	case s.SeqLen() > 0:
		l.Again = from.sent[what]
		from.sent[what] = true
	default: // a probe, or an acknowledgment
		what += fmt.Sprint(" ", s.Ack(), s.Window())
		l.Again = from.sent[what]
		from.sent[what] = true
	}
	from.next = packet.Max(from.next, s.End())
}

func (r *reducer) options(s lab.Captured, l *line, from, peer *sideState) {
	if val, ecr, ok := s.Timestamps(); ok {
		l.Stamps = pick(ecr == from.recent || r.p.cause.stranger, "TS", "TS old")
		if !peer.hasAcked || s.Seq().LessEq(peer.acked) && peer.acked.LessEq(s.End()) {
			peer.recent = val
		}
	}
	if s.Flags().Has(packet.ACK) {
		from.acked, from.hasAcked = s.Ack(), true
	}
	var names []string
	for o := s.Options(); len(o) > 0; {
		kind, n := o[0], 1
		if kind > 1 && len(o) > 1 {
			n = max(2, int(o[1]))
		}
		switch kind {
		case 2:
			names = append(names, "mss")
		case 3:
			names = append(names, "wscale")
		case 4:
			names = append(names, "sackOK")
		case 5:
			names = append(names, "sack")
		}
		o = o[min(n, len(o)):]
	}
	l.Options = strings.Join(names, ",")
}

// stream describes how the sender's identification or flow label continues.
func (r *reducer) stream(s lab.Captured, l *line, from *sideState) {
	if s.Version() == 4 {
		switch d := s.ID() - from.id; {
		case s.ID() == 0:
			l.ID = "0"
		case from.id == 0:
			l.ID = "any"
		case d < 1<<12:
			l.ID = fmt.Sprintf("+%d", d)
		default:
			l.ID = "other"
		}
		if s.ID() != 0 {
			from.id = s.ID()
		}
		return
	}
	switch {
	case s.FlowLabel() == 0:
		l.Label = "0"
	case !from.seen || s.FlowLabel() == from.label:
		l.Label = "own"
	default:
		l.Label = "other"
	}
	if !s.Flags().Has(packet.RST) {
		from.label, from.seen = s.FlowLabel(), true
	}
}

// icmp describes an ICMP error: its outer header, and what it quotes.
func (r *reducer) icmp(s lab.Captured, l line) line {
	b := s.ICMP
	out := line{Way: map[string]string{"C>S": "S>C", "S>C": "C>S"}[l.Way], Flags: l.Flags, Len: l.Len}
	who := "a router"
	from := r.side(l.Way)
	if !from.based {
		from.based, from.base, from.next = true, s.Seq(), s.Seq() // what it quotes was not captured
	}
	out.Seq = uint32(s.Seq() - from.base)
	what := fmt.Sprint("icmp", s.Seq())
	out.Again = from.sent[what]
	from.sent[what] = true
	if b[0]>>4 == 4 {
		out.TTL, out.TOS, out.DF = b[8], b[1], b[6]&0x40 != 0
		out.ID = pick(b[4]|b[5] == 0, "0", "any")
		if s.Dst().Is4() && [4]byte(b[12:16]) == s.Dst().As4() {
			who = "the address itself"
		}
		out.ICMP = fmt.Sprintf("unreachable %d/%d, quoting %d bytes with TTL %d, from %s", b[20], b[21], len(s.Bytes()), s.TTL(), who)
		return out
	}
	out.TTL, out.TOS = b[7], b[0]<<4|b[1]>>4
	out.Label = pick(b[1]&0xf|b[2]|b[3] == 0, "0", "other")
	if [16]byte(b[8:24]) == s.Dst().As16() {
		who = "the address itself"
	}
	out.ICMP = fmt.Sprintf("unreachable %d/%d, quoting %d bytes with TTL %d, from %s", b[40], b[41], len(s.Bytes()), s.TTL(), who)
	return out
}

// key identifies the segment: lines with the same key are compared field by field.
func (l line) key() string {
	icmp, _, _ := strings.Cut(l.ICMP, ",")
	return fmt.Sprint(l.Way, l.Flags, " ", l.Seq, " ", l.Ack, " ", l.Len, icmp, l.Again)
}

func (l line) String() string {
	var b strings.Builder
	if l.ICMP != "" {
		fmt.Fprintf(&b, "%s ICMP %s ttl=%d tos=%#x", l.Way, l.ICMP, l.TTL, l.TOS)
	} else {
		fmt.Fprintf(&b, "%s [%s] seq=%d", l.Way, l.Flags, l.Seq)
		if strings.Contains(l.Flags, ".") || l.Ack != 0 {
			fmt.Fprintf(&b, " ack=%d", l.Ack)
		}
		fmt.Fprintf(&b, " len=%d win=%d", l.Len, l.Window)
		for _, o := range []string{l.Options, l.Stamps} {
			if o != "" {
				b.WriteString(" " + o)
			}
		}
		fmt.Fprintf(&b, " ttl=%d", l.TTL)
		if l.TOS != 0 {
			fmt.Fprintf(&b, " tos=%#x", l.TOS)
		}
	}
	if l.ID != "" {
		b.WriteString(" id=" + l.ID + pick(l.DF, " DF", ""))
	}
	if l.Label != "" {
		b.WriteString(" label=" + l.Label)
	}
	if l.Again {
		b.WriteString(" (again)")
	}
	if l.Soon {
		b.WriteString(" (too soon)")
	}
	return b.String()
}

func text(lines []line) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString("  " + l.String() + "\n")
	}
	return b.String()
}

// sorted sorts a list and removes duplicates.
func sorted[T cmp.Ordered](list []T) []T {
	slices.Sort(list)
	return slices.Compact(list)
}
