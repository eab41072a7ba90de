package demo

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/lab"
)

// packets merges the captures of the router's two interfaces: a segment that
// came in on one and left on the other has passed; the fault did the rest.
func (p *play) packets() []Packet {
	rel := &relative{}
	var out []Packet
	a, b := p.toClient.Segments(port), p.toServer.Segments(port)
	for _, way := range []struct{ came, left []lab.Captured }{
		{in(a), left(b)}, // client to server
		{in(b), left(a)},
	} {
		rel.learn(way.came)
		rest := way.left
		for _, s := range way.came {
			told := p.touched[segmentKey(s.Segment)]
			i := slices.IndexFunc(rest, func(o lab.Captured) bool {
				return told != injector.Rewritten && same(s, o) || told == injector.Rewritten && becomes(s, o)
			})
			switch {
			case i < 0:
				out = append(out, p.packet(s, injector.Dropped))
				continue
			case told == injector.Rewritten:
				out = append(out, p.packet(s, injector.Passed), p.packet(rest[i], injector.Replacement))
			case told == injector.Delayed:
				late := p.packet(s, injector.Delayed)
				late.Late = rest[i].At.Sub(s.At)
				out = append(out, late)
			default:
				out = append(out, p.packet(s, injector.Passed))
			}
			rest = slices.Delete(slices.Clone(rest), i, i+1)
		}
		for _, s := range rest {
			out = append(out, p.packet(s, injector.Forged))
		}
	}
	slices.SortStableFunc(out, func(a, b Packet) int { return cmp.Compare(a.At, b.At) })
	for i := range out {
		out[i].Text = rel.describe(out[i].seg, p.lab.Server)
	}
	return out
}

func (p *play) packet(s lab.Captured, fate injector.Fate) Packet {
	return Packet{At: s.At.Sub(p.start), Fate: fate, seg: s}
}

func in(segs []lab.Captured) []lab.Captured {
	return slices.DeleteFunc(slices.Clone(segs), func(s lab.Captured) bool { return s.Out })
}

func left(segs []lab.Captured) []lab.Captured {
	return slices.DeleteFunc(slices.Clone(segs), func(s lab.Captured) bool { return !s.Out })
}

// same reports whether o is s, one hop further.
func same(s, o lab.Captured) bool {
	return s.SrcAddrPort() == o.SrcAddrPort() && s.Segment.Seq() == o.Segment.Seq() && s.Segment.Ack() == o.Segment.Ack() &&
		s.Flags() == o.Flags() && s.ID() == o.ID() && s.Window() == o.Window() && string(s.Payload()) == string(o.Payload())
}

// becomes reports whether o may be s after a fault rewrote it.
func becomes(s, o lab.Captured) bool {
	return s.SrcAddrPort() == o.SrcAddrPort() && s.ID() == o.ID() && s.Segment.Seq() == o.Segment.Seq() && !o.At.Before(s.At)
}

// segmentKey identifies a segment within the conversation, at any point on
// its way to the fault.
func segmentKey(s packet.Segment) string {
	return fmt.Sprint(s.SrcAddrPort(), s.ID(), s.Seq(), s.Ack(), s.Flags(), s.Window())
}

// relative writes sequence numbers relative to each side's first.
type relative struct{ first map[string]packet.Seq }

func (r *relative) learn(segs []lab.Captured) {
	for _, s := range segs {
		if s.Flags().Has(packet.SYN) {
			if r.first == nil {
				r.first = map[string]packet.Seq{}
			}
			if _, known := r.first[s.SrcAddrPort().String()]; !known {
				r.first[s.SrcAddrPort().String()] = s.Segment.Seq()
			}
		}
	}
}

// describe writes a segment as tcpdump does.
func (r *relative) describe(s lab.Captured, server *lab.Node) string {
	var b strings.Builder
	way := "client > server"
	if s.Src() == server.V4 || s.Src() == server.V6 {
		way = "server > client"
	}
	fmt.Fprintf(&b, "%s [%s]", way, s.Flags())
	seq := uint32(s.Segment.Seq() - r.first[s.SrcAddrPort().String()])
	switch n := uint32(s.PayloadLen()); {
	case s.Segment.Seq() == 0:
		b.WriteString(" seq 0")
	case n > 0:
		fmt.Fprintf(&b, " seq %d:%d", seq, seq+n)
	case s.Flags().Any(packet.SYN | packet.FIN | packet.RST):
		fmt.Fprintf(&b, " seq %d", seq)
	}
	if s.Flags().Has(packet.ACK) {
		fmt.Fprintf(&b, " ack %d", uint32(s.Segment.Ack()-r.first[s.DstAddrPort().String()]))
	}
	fmt.Fprintf(&b, " win %d", s.Window())
	return b.String()
}
