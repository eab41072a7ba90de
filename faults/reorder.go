package faults

import (
	"time"
)

var reorderKind = Kind{
	Name: "reorder", Group: "link",
	Cause:   "A segment is overtaken by later ones: several paths, parallel queues, a route that changes.",
	Symptom: "The application sees only lower throughput: TCP may take the reordering for loss and retransmit.",
	Remedy:  "Nothing in the application; SACK and RACK in the kernel.",
	Example: "faultctl inject reorder --chance 5% --by 10ms --to :8080",
	Demo:    Demo{Settings: "chance=50%", Answer: []string{"row 1, ", "row 2, ", "row 3, ", "row 4"}},
	New:     func() Model { return new(Reorder) },
}

// Reorder is the fault reorder: a segment is overtaken by those behind it.
type Reorder struct {
	Chance Chance        `knob:"chance" alias:"rate" help:"probability that a segment is overtaken"`
	By     time.Duration `knob:"by" default:"10ms" help:"how long a segment that is overtaken is held back"`
	Dir    Side          `knob:"dir" help:"whose segments: the client's, the server's, or both"`
}

// Validate implements Model.
func (m *Reorder) Validate() error {
	if err := judge(m); err != nil {
		return err
	}
	if m.By > time.Minute {
		return wrong(m, "by", "it lies outside of 0 (not included) to 1m")
	}
	return m.Chance.required(m, "chance", "overtaken")
}

// Diverts implements Model.
func (m *Reorder) Diverts() Diversion { return Diversion{SYN: true, All: true, Whole: true} }

// Start implements Model.
func (m *Reorder) Start() Instance {
	m = completed(m)
	return PerFlow(func() Fault { return &reorder{m} })
}

type reorder struct{ m *Reorder }

// onPath implements pathFault.
func (*reorder) onPath() {}

func (r *reorder) OnSegment(ev *Event, out *Effects) Verdict {
	if !r.m.Dir.Includes(ev.Dir.From()) || !r.m.Chance.draw(ev.Rand) {
		return Pass
	}
	out.Delay(r.m.By)
	out.Overtake()
	out.Note(Held, ev.Dir.To(), "overtaken")
	return Pass
}

// Adjust implements Adjuster.
func (r *reorder) Adjust(fresh Fault) { r.m = fresh.(*reorder).m }
