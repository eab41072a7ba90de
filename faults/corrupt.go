package faults

var corruptKind = Kind{
	Name: "corrupt", Group: "link",
	Cause:   "Bits flip on the way: bad memory in a switch, or a device that recomputes the checksum over data it has damaged.",
	Symptom: "With a wrong checksum it is loss. With a correct one the application reads bytes that nobody sent: a protocol error, or silent damage.",
	Remedy:  "Use TLS, or a checksum of your own: TCP's has 16 bits and is recomputed by every device that rewrites the packet.",
	Example: "faultctl inject corrupt --what payload --chance 0.1% --to :5432",
	Demo:    Demo{Settings: "what=payload,chance=100%"},
	New:     func() Model { return new(Corrupt) },
}

// Corrupt is the fault corrupt: bits flip on the way. With a wrong checksum the
// receiver drops the segment; with a right one the damage arrives, as from a
// device that computes the checksum anew over what it broke.
type Corrupt struct {
	What   string `knob:"what" default:"checksum" oneof:"payload|checksum|header" help:"payload: a bit of the payload flips, the checksum is correct, and the application reads it; checksum: the checksum is wrong, and the receiver drops the segment; header: a bit of the window field flips, and the checksum is correct"`
	Chance Chance `knob:"chance" alias:"rate" help:"probability that a segment is damaged"`
	Dir    Side   `knob:"dir" help:"whose segments: the client's, the server's, or both"`
}

// Validate implements Model.
func (m *Corrupt) Validate() error {
	if err := judge(m); err != nil {
		return err
	}
	return m.Chance.required(m, "chance", "damaged")
}

// Diverts implements Model.
func (m *Corrupt) Diverts() Diversion { return Diversion{SYN: true, All: true, Whole: true} }

// Start implements Model.
func (m *Corrupt) Start() Instance {
	m = completed(m)
	return PerFlow(func() Fault { return &corrupt{m} })
}

type corrupt struct{ m *Corrupt }

// onPath implements pathFault.
func (*corrupt) onPath() {}

func (c *corrupt) OnSegment(ev *Event, out *Effects) Verdict {
	if !c.m.Dir.Includes(ev.Dir.From()) || c.m.What == "payload" && ev.Seg.PayloadLen() == 0 || !c.m.Chance.draw(ev.Rand) {
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

// Adjust implements Adjuster.
func (c *corrupt) Adjust(fresh Fault) { c.m = fresh.(*corrupt).m }
