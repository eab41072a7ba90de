// Package trace plays conversations against faults, without root and
// without a clock. A conversation is a text, a trace: what the two ends send,
// in tcpdump's words, and below each segment, indented, what becomes of it.
//
//	# The first segment after the pause earns its sender a RST.
//	fault idle-expire after=300s
//	0.000 handshake
//	    C>S [S] -> pass, admit
//	    S>C [S.] -> unseen
//	    C>S [.] -> unseen
//	300.5 C>S [P.] len 5
//	    -> drop, capture
//	    S>C [R] seq 1 win 0 ttl 64 id 0 DF
//	    note rst client: the flow was idle and is forgotten
//
// A line sets up the run ("fault NAME knob=value …", "seed N", "isn C S",
// "timestamps off", "IPv4 only"), is a segment or the three of a handshake with a
// round trip of 10 ms, begins another connection ("5.0 another"), or lets time
// pass ("12.5 end"). Sequence numbers are relative to each side's first. What a
// line does not say of a segment follows from what came before: it continues its
// side's stream and acknowledges all that was let through. Words are seq, ack,
// len, data (to the end of the line, quoted), tls (records, as type:length), win, ts V/E, nots, md5 (a signature), ttl, tos, id,
// sack A:B, scale N.
//
// "unseen" says that the kernel would not hand the segment over at all: what
// [faults.Diversion] promises is part of each trace.
package trace

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
)

// Play plays a trace over IPv4, or over IPv6, and returns it with what became
// of each segment written anew. It reports what no trace may show, such as a
// forged segment of a shape that no kernel sends.
func Play(trace string, v6 bool) (string, error) {
	p := &player{v6: v6, seed: 1, stamps: true}
	p.side[faults.Original] = half{isn: 1000, ts: 1000, id: 100}
	p.side[faults.Reply] = half{isn: 9000, ts: 5000, id: 200}
	for n, line := range strings.Split(strings.TrimRight(trace, "\n"), "\n") {
		if strings.HasPrefix(line, "    ") {
			continue // what the last playing found
		}
		if err := p.line(line); err != nil {
			return "", fmt.Errorf("line %d: %q: %w", n+1, line, err)
		}
	}
	return p.out.String(), nil
}

// player is one trace under way.
type player struct {
	v6        bool
	seed      uint64
	nth       uint64 // the connection's ordinal
	stamps    bool
	models    []faults.Model
	instances []faults.Instance
	names     []string

	out    strings.Builder
	side   [2]half
	flow   faults.Flow
	chain  *faults.Chain
	kernel kernel
	ev     faults.Event
	eff    faults.Effects
	now    time.Duration
	prefix string // of the next verdict's line
}

// half is one end, as a program that knows nothing of faults.
type half struct {
	isn, next packet.Seq // next is relative
	acked     packet.Seq // relative: what it has of the other end
	ts        uint32     // its clock's first reading
	ecr       uint32     // the other end's last timestamp
	id        uint16
}

func (p *player) line(line string) error {
	words := strings.Fields(line)
	if len(words) == 0 || words[0][0] == '#' {
		p.out.WriteString(line + "\n")
		return nil
	}
	if words[0][0] >= '0' && words[0][0] <= '9' {
		at, err := strconv.ParseFloat(words[0], 64)
		if err != nil {
			return err
		}
		return p.at(time.Duration(at*1e6+0.5)*time.Microsecond, line, words[1:])
	}
	p.out.WriteString(line + "\n")
	return p.setUp(words)
}

// setUp reads a line that is about the run.
func (p *player) setUp(words []string) (err error) {
	switch {
	case words[0] == "fault" && len(words) > 1:
		kind, err := faults.Find(words[1])
		if err != nil {
			return err
		}
		m := kind.New()
		for _, kv := range words[2:] {
			knob, value, _ := strings.Cut(kv, "=")
			if err := faults.Set(m, knob, value); err != nil {
				return err
			}
		}
		p.models, p.names = append(p.models, m), append(p.names, words[1])
		if err := m.Validate(); err != nil {
			return err
		}
		p.instances = append(p.instances, m.Start())
		return nil
	case words[0] == "seed" && len(words) == 2:
		p.seed, err = strconv.ParseUint(words[1], 10, 64)
		return err
	case words[0] == "isn" && len(words) == 3:
		for d := range p.side {
			n, err := strconv.ParseUint(words[1+d], 10, 32)
			if err != nil {
				return err
			}
			p.side[d].isn = packet.Seq(n)
		}
		return nil
	case slices.Equal(words, []string{"timestamps", "off"}):
		p.stamps = false
		return nil
	case line4(words):
		return nil
	}
	return fmt.Errorf("neither a segment nor fault, seed, isn, timestamps")
}

// line4 reports whether the words are those of a trace that is about sizes,
// which IPv6's header changes.
func line4(words []string) bool { return slices.Equal(words, []string{"IPv4", "only"}) }

// at lets time pass, and then a segment.
func (p *player) at(at time.Duration, line string, words []string) error {
	if p.chain == nil {
		p.begin()
	}
	if at < p.now {
		return fmt.Errorf("time runs backwards")
	}
	for p.chain.NextWake() <= at {
		p.now = max(p.now, p.chain.NextWake())
		if err := p.wake(); err != nil {
			return err
		}
	}
	p.now = at
	p.out.WriteString(line + "\n")
	switch {
	case len(words) == 1 && words[0] == "end":
		return nil
	case len(words) == 1 && words[0] == "handshake":
		return p.handshake()
	case len(words) == 1 && words[0] == "another":
		p.begin()
		for d := range p.side {
			s := &p.side[d]
			*s = half{isn: s.isn + 100_000, ts: s.ts, id: s.id}
		}
		return nil
	}
	seg, dir, err := p.build(words)
	if err != nil {
		return err
	}
	return p.segment(seg, dir)
}

// handshake opens the connection, with a round trip of 10 ms.
func (p *player) handshake() error {
	for i, words := range [][]string{{"C>S", "[S]"}, {"S>C", "[S.]"}, {"C>S", "[.]"}} {
		if i == 1 {
			p.now += 10 * time.Millisecond
		}
		p.prefix = strings.Join(words, " ") + " "
		seg, dir, err := p.build(words)
		if err == nil {
			err = p.segment(seg, dir)
		}
		if p.prefix = ""; err != nil {
			return err
		}
	}
	return nil
}

func (p *player) begin() {
	p.chain, p.flow = faults.NewChain(p.instances), faults.Flow{}
	p.flow.Client, p.flow.Server = p.addr(faults.Original), p.addr(faults.Reply)
	p.kernel = kernel{diverts: faults.Together(p.models...)}
	p.nth++
	p.ev.Flow, p.ev.Rand = &p.flow, rand.New(rand.NewPCG(p.seed, p.nth))
}

// segment judges a segment, if the kernel hands it over.
func (p *player) segment(seg packet.Segment, dir faults.Direction) error {
	if !p.kernel.handsOver(p.now, dir, seg) {
		p.pass(seg, dir)
		p.out.WriteString("    " + p.prefix + "-> unseen\n")
		return nil
	}
	whole := seg
	if !p.kernel.diverts.Whole { // and then no more than the headers
		var err error
		if seg, err = packet.Parse(seg.Bytes()[:seg.HeaderLen():seg.HeaderLen()]); err != nil {
			return err
		}
	}
	p.eff.Reset()
	p.ev.At, p.ev.Dir, p.ev.Seg, p.ev.Idle, p.ev.Busy = p.now, dir, seg, 0, p.kernel.busy
	p.ev.Fresh = p.flow.Observe(p.now, dir, seg)
	v, _ := p.chain.OnSegment(&p.ev, &p.eff)
	p.park()
	words := []string{p.verdict(v)}
	passing := seg
	if r, ok := p.eff.Replaced(); ok && v != faults.Drop {
		passing = r
	}
	if v != faults.Drop || p.eff.Split() {
		if !passing.Flags().Has(packet.RST) {
			p.flow.Pass(dir, passing)
		}
		p.pass(passing, dir)
	}
	words = append(words, p.kernel.learn(p.now, &p.eff)...)
	p.out.WriteString("    " + p.prefix + "-> " + strings.Join(words, ", ") + "\n")
	if r, ok := p.eff.Replaced(); ok && v != faults.Drop {
		p.out.WriteString("    " + p.show(dir, packet.FieldsOf(r), r.Payload()))
		if !r.ChecksumOK() {
			p.out.WriteString(" bad checksum")
		}
		p.out.WriteString("\n")
		if err := p.checkReplaced(whole, r); err != nil {
			return err
		}
	}
	return p.effects(&whole)
}

// park parks the chain and takes it up again wherever that is possible: it must
// make no difference.
func (p *player) park() {
	if parked, ok := p.chain.Park(); ok {
		p.chain = faults.UnparkChain(p.instances[0], parked)
	}
}

// pass lets the receiver have a segment.
func (p *player) pass(seg packet.Segment, dir faults.Direction) {
	to, from := &p.side[dir.Flip()], &p.side[dir]
	if !seg.Flags().Has(packet.RST) {
		to.acked = packet.Max(to.acked, seg.End()-from.isn)
	}
	if val, _, ok := seg.Timestamps(); ok {
		to.ecr = val
	}
}

func (p *player) verdict(v faults.Verdict) string {
	switch {
	case v == faults.Drop:
		return "drop"
	case p.eff.Hold > 0 && p.eff.Overtakes():
		return "pass after " + p.eff.Hold.String() + " out of turn"
	case p.eff.Hold > 0:
		return "pass after " + p.eff.Hold.String()
	}
	return "pass"
}

// wake runs one alarm.
func (p *player) wake() error {
	p.eff.Reset()
	p.ev.At, p.ev.Seg, p.ev.Fresh, p.ev.Idle, p.ev.Busy = p.now, packet.Segment{}, false, p.kernel.idle(p.now), false
	p.chain.OnWake(&p.ev, &p.eff)
	p.park()
	words := append([]string{fmt.Sprintf("%.3f wake", p.now.Seconds())}, p.kernel.learn(p.now, &p.eff)...)
	p.out.WriteString("    " + strings.Join(words, ", ") + "\n")
	return p.effects(nil)
}

// effects writes and checks what was forged, and writes the notes.
func (p *player) effects(cause *packet.Segment) error {
	for i := range p.eff.Forged {
		f := &p.eff.Forged[i]
		payload := p.eff.Payload(f)
		dir := faults.Original
		if f.Fields.Dst == p.flow.Client {
			dir = faults.Reply
		}
		when := ""
		after := f.After
		if f.Along {
			after += p.eff.Hold
		}
		switch {
		case f.Answer && p.flow.RTT > after:
			when = " after a round trip, " + p.flow.RTT.String()
		case after > 1:
			when = " after " + after.String()
		case after == 1:
			when = " behind it"
		}
		if f.Raw {
			text, err := p.showRaw(payload, dir)
			if err != nil {
				return err
			}
			p.out.WriteString("    " + text + when + "\n")
			continue
		}
		p.out.WriteString("    " + p.show(dir, f.Fields, payload) + when + "\n")
		if err := p.checkForged(f.Fields, payload, cause); err != nil {
			return err
		}
	}
	for _, n := range p.eff.Notes {
		fmt.Fprintf(&p.out, "    note %s %s: %s\n", n.Action, n.To, n.Reason)
	}
	return nil
}
