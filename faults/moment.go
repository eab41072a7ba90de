package faults

import "github.com/faultctl/faultctl/faults/packet"

// moment watches for the moment at which a fault fires, and sees to it that
// the flow's numbers are known then: a flow whose time comes while it is let
// pass is captured and asked for them first.
type moment struct {
	trigger trigger
	prober  prober
	armed   bool // its time has come, the numbers are awaited
}

// onSegment reports whether the fault fires at this segment. If it was asked
// for, the segment is no deciding one but says the numbers: see probed.
func (m *moment) onSegment(t *Trigger, ev *Event, out *Effects) bool {
	if m.armed {
		if ev.Seg.Flags().Has(packet.RST) || !ev.Seg.Flags().Has(packet.ACK) {
			return false
		}
		m.armed = false
		return true
	}
	return m.trigger.onSegment(t, ev, out)
}

// onWake arms the fault, or asks once more.
func (m *moment) onWake(t *Trigger, ev *Event, out *Effects) {
	if !m.armed && !m.trigger.onWake(t) {
		return
	}
	m.armed = true
	out.Capture()
	if !m.prober.ask(ev, out) {
		m.armed = false
		out.Release()
	}
}

// probed reports whether the deciding segment is the answer to a probe, which
// nobody waits for but us.
func (m *moment) probed() bool { return m.prober.asked != AnySide }
