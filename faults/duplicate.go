package faults

var duplicateKind = Kind{
	Name: "duplicate", Group: "link",
	Cause:   "A segment arrives twice: a link that repeats it, a route that changes, an unnecessary retransmission.",
	Symptom: "The application sees nothing; TCP answers a duplicate with D-SACK.",
	Remedy:  "None is needed: this is a control experiment. Only programs that read packets below TCP break.",
	Example: "faultctl inject duplicate --chance 5% --to :8080",
	Demo:    Demo{Settings: "chance=50%"},
	New:     func() Model { return new(Duplicate) },
}

// Duplicate is the fault duplicate: a segment arrives twice.
type Duplicate struct {
	Chance Chance `knob:"chance" alias:"rate" help:"probability that a segment arrives twice"`
	Dir    Side   `knob:"dir" help:"whose segments: the client's, the server's, or both"`
}

// Validate implements Model.
func (m *Duplicate) Validate() error {
	if err := judge(m); err != nil {
		return err
	}
	return m.Chance.required(m, "chance", "duplicated")
}

// Diverts implements Model.
func (m *Duplicate) Diverts() Diversion { return Diversion{SYN: true, All: true, Whole: true} }

// Start implements Model.
func (m *Duplicate) Start() Instance {
	m = completed(m)
	return PerFlow(func() Fault { return &duplicate{m} })
}

type duplicate struct{ m *Duplicate }

// onPath implements pathFault.
func (*duplicate) onPath() {}

func (d *duplicate) OnSegment(ev *Event, out *Effects) Verdict {
	if !d.m.Dir.Includes(ev.Dir.From()) || !d.m.Chance.draw(ev.Rand) {
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

// Adjust implements Adjuster.
func (d *duplicate) Adjust(fresh Fault) { d.m = fresh.(*duplicate).m }
