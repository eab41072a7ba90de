package faults

import (
	"strings"

	"github.com/faultctl/faultctl/faults/clue"
)

var mtuHoleKind = Kind{
	Name: "mtu-hole", Group: "link",
	Cause:   "A tunnel has a smaller MTU, behind a firewall that drops the ICMP message that would say so.",
	Symptom: "connect succeeds and small requests work; the first large answer hangs for ever.",
	Remedy:  "Clamp the MSS on the tunnel, let ICMP through, or turn on net.ipv4.tcp_mtu_probing.",
	Example: "faultctl inject mtu-hole --above 1400 --to :443",
	Demo:    Demo{Settings: "above=576", Answer: []string{strings.Repeat("2 rows", 200)}},
	Shows: []clue.Prediction{{
		Must:    clue.Of(clue.Open, clue.Silence, clue.LargeOnly),
		Cannot:  clue.Of(clue.Unreachable),
		Repeat:  "above={above}",
		Settles: "ping with the DF bit and that size (ping -M do -s)",
	}},
	New: func() Model { return new(MTUHole) },
}

// MTUHole is the fault mtu-hole: large packets are lost, and the ICMP message
// that would say so is filtered (RFC 2923 section 2.1).
type MTUHole struct {
	Above Bytes `knob:"above" default:"1400" help:"packets larger than this many bytes are lost, IP header included"`
	Dir   Side  `knob:"dir" help:"whose packets: the client's, the server's, or both"`
}

// Validate implements Model.
func (m *MTUHole) Validate() error {
	if err := judge(m); err != nil {
		return err
	}
	if m = completed(m); m.Above < 68 || m.Above > 65535 {
		return wrong(m, "above", "it lies outside of 68, the smallest MTU of IPv4, to 65535")
	}
	return nil
}

// Diverts implements Model.
func (m *MTUHole) Diverts() Diversion {
	return Diversion{SYN: true, Above: int(completed(m).Above), NoCapture: true}
}

// Start implements Model.
func (m *MTUHole) Start() Instance {
	m = completed(m)
	return PerFlow(func() Fault { return &mtuHole{m} })
}

type mtuHole struct{ m *MTUHole }

// onPath implements pathFault.
func (*mtuHole) onPath() {}

func (h *mtuHole) OnSegment(ev *Event, out *Effects) Verdict {
	if !h.m.Dir.Includes(ev.Dir.From()) || ev.Seg.HeaderLen()+ev.Seg.PayloadLen() <= int(h.m.Above) {
		return Pass
	}
	out.Note(Dropped, ev.Dir.To(), "too large for the path, and nobody says so")
	return Drop
}

// Adjust implements Adjuster.
func (h *mtuHole) Adjust(fresh Fault) { h.m = fresh.(*mtuHole).m }
