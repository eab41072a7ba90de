package faults

import (
	"errors"
	"time"
)

// Duplicate is the fault duplicate: a segment arrives twice.
type Duplicate struct {
	Rate Share `knob:"rate" help:"share of the segments that arrives twice"`
	Dir  Side  `knob:"dir" help:"whose segments: those of the client, of the server, or of both"`
}

// Validate implements Model.
func (m *Duplicate) Validate() error { return needRate(m.Rate) }

// Diverts implements Model.
func (m *Duplicate) Diverts() Diversion { return Diversion{SYN: true, All: true, Whole: true} }

// New implements Model.
func (m *Duplicate) New() Fault { return duplicate{m} }

type duplicate struct{ m *Duplicate }

func (d duplicate) OnSegment(ev *Event, out *Effects) Verdict {
	if !d.m.Dir.Includes(ev.Dir.From()) || ev.Rand.Float64() >= float64(d.m.Rate) {
		return Pass
	}
	if !ev.Seg.Complete() {
		out.Cut()
		return Pass
	}
	out.Duplicate(ev.Seg)
	out.Note(Duplicated, ev.Dir.To(), "arrives twice")
	return Pass
}

// Reorder is the fault reorder: a segment is overtaken by those behind it.
type Reorder struct {
	Rate Share         `knob:"rate" help:"share of the segments that is overtaken"`
	By   time.Duration `knob:"by" help:"how long such a segment is held back"`
	Dir  Side          `knob:"dir" help:"whose segments: those of the client, of the server, or of both"`
}

// Validate implements Model.
func (m *Reorder) Validate() error {
	if m.By <= 0 || m.By > time.Minute {
		return errors.New("by lies outside of 0 (not included) to 1m")
	}
	return needRate(m.Rate)
}

// Diverts implements Model.
func (m *Reorder) Diverts() Diversion { return Diversion{SYN: true, All: true, Whole: true} }

// New implements Model.
func (m *Reorder) New() Fault { return reorder{m} }

type reorder struct{ m *Reorder }

func (r reorder) OnSegment(ev *Event, out *Effects) Verdict {
	if !r.m.Dir.Includes(ev.Dir.From()) || ev.Rand.Float64() >= float64(r.m.Rate) {
		return Pass
	}
	out.Delay(r.m.By)
	out.Overtake()
	out.Note(Held, ev.Dir.To(), "overtaken")
	return Pass
}

// Corrupt is the fault corrupt: bits flip on the way. With a wrong checksum the
// receiver drops the segment; with a right one the damage arrives, as from a
// device that computes the checksum anew over what it broke.
type Corrupt struct {
	What string `knob:"what" oneof:"payload|checksum|header" help:"payload: a bit of it flips, the checksum is right, the application reads it; checksum: the receiver drops the segment; header: a bit of the window flips, the checksum is right"`
	Rate Share  `knob:"rate" help:"share of the segments that is damaged"`
	Dir  Side   `knob:"dir" help:"whose segments: those of the client, of the server, or of both"`
}

// Validate implements Model.
func (m *Corrupt) Validate() error { return needRate(m.Rate) }

// Diverts implements Model.
func (m *Corrupt) Diverts() Diversion { return Diversion{SYN: true, All: true, Whole: true} }

// New implements Model.
func (m *Corrupt) New() Fault { return corrupt{m} }

type corrupt struct{ m *Corrupt }

func (c corrupt) OnSegment(ev *Event, out *Effects) Verdict {
	if !c.m.Dir.Includes(ev.Dir.From()) || c.m.What == "payload" && ev.Seg.PayloadLen() == 0 || ev.Rand.Float64() >= float64(c.m.Rate) {
		return Pass
	}
	if !ev.Seg.Complete() {
		out.Cut()
		return Pass
	}
	w := out.Copy(ev.Seg)
	switch c.m.What {
	case "payload":
		p := w.Payload()
		p[ev.Rand.IntN(len(p))] ^= 1 << ev.Rand.IntN(8)
		w.UpdateChecksums()
	case "header":
		w.SetWindow(w.Window() ^ 1<<ev.Rand.IntN(16))
		w.UpdateChecksums()
	default:
		w.SetChecksum(w.Checksum() ^ 1<<ev.Rand.IntN(16))
	}
	out.Replace(w)
	out.Note(Rewritten, ev.Dir.To(), "damaged on the way")
	return Pass
}

func needRate(r Share) error {
	if r == 0 {
		return errors.New("rate: how many? Give --rate, such as 1%")
	}
	return nil
}
