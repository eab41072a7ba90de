package faults

import "github.com/faultctl/faultctl/faults/packet"

// moment watches for the moment at which a fault fires, and makes sure that the
// flow's sequence numbers are known by then: a flow that passes unseen when the
// moment comes is captured, and one of its ends is probed for them first.
type moment struct {
	trigger trigger
	prober  prober
	armed   bool // the moment has come, and the numbers are awaited
}

// onSegment reports whether the fault fires at this segment. If the
// numbers were asked for, the segment only tells them: see probed.
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
// neither end waits for.
func (m *moment) probed() bool { return m.prober.asked != AnySide }
