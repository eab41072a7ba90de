package faults

import (
	"math"
	"time"
)

var delayKind = Kind{
	Name: "delay", Group: "link",
	Cause:   "The path is longer: another region, a satellite, a queue that never empties.",
	Symptom: "Every round trip takes that much longer, and chatty protocols multiply it. connect and reads run into timeouts.",
	Remedy:  "Make fewer round trips (pipelining, batching, connection reuse), and leave room above the real latency in timeouts.",
	Example: "faultctl inject delay --by 50ms --jitter 10ms --to :6379",
	Demo:    Demo{Settings: "by=200ms"},
	New:     func() Model { return new(Delay) },
}

// Delay is the fault delay: a longer path. Segments stay in order unless
// reordering is asked for, however the delay jitters.
type Delay struct {
	By           time.Duration `knob:"by" help:"how much longer each segment takes"`
	Jitter       time.Duration `knob:"jitter" help:"how much the delay varies: the half-width of the uniform, the standard deviation of the normal, the scale of the pareto distribution"`
	Distribution string        `knob:"distribution" default:"uniform" oneof:"uniform|normal|pareto" help:"how the delay varies"`
	Reorder      bool          `knob:"reorder" help:"let a segment with a shorter delay overtake others"`
	Dir          Side          `knob:"dir" help:"whose segments: the client's, the server's, or both"`
}

// Validate implements Model.
func (m *Delay) Validate() error {
	if err := judge(m); err != nil {
		return err
	}
	switch {
	case m.By == 0 && m.Jitter == 0:
		return wrong(m, "by", "how long? Give a time, such as 50ms")
	case m.By > time.Hour:
		return wrong(m, "by", "no delay is longer than an hour: half-open with peer=crashed is silence")
	case m.Jitter > time.Hour:
		return wrong(m, "jitter", "no delay is longer than an hour")
	}
	return nil
}

// Diverts implements Model.
func (m *Delay) Diverts() Diversion { return Diversion{SYN: true, All: true, Whole: true, Holds: true} }

// Start implements Model.
func (m *Delay) Start() Instance {
	m = completed(m)
	return PerFlow(func() Fault { return &delay{m: m} })
}

type delay struct {
	m    *Delay
	told [2]bool // by direction
}

// onPath implements pathFault.
func (*delay) onPath() {}

func (d *delay) OnSegment(ev *Event, out *Effects) Verdict {
	if !d.m.Dir.Includes(ev.Dir.From()) {
		return Pass
	}
	out.Delay(d.draw(ev))
	if d.m.Reorder {
		out.Overtake()
	}
	if !d.told[ev.Dir] { // once for each connection and direction: a note for every segment would be a flood
		d.told[ev.Dir] = true
		out.Note(Delayed, ev.Dir.To(), "the way is longer")
	}
	return Pass
}

// Adjust implements Adjuster.
func (d *delay) Adjust(fresh Fault) { d.m = fresh.(*delay).m }

// draw draws the delay of one segment.
func (d *delay) draw(ev *Event) time.Duration {
	by, jitter := float64(d.m.By), float64(d.m.Jitter)
	if jitter == 0 {
		return d.m.By
	}
	switch d.m.Distribution {
	case "normal":
		by += jitter * ev.Rand.NormFloat64()
	case "pareto":
		// Shape 3, as the tail of netem's table: most values lie close to By.
		by += jitter * (math.Pow(1-ev.Rand.Float64(), -1.0/3) - 1)
	default:
		by += jitter * (2*ev.Rand.Float64() - 1)
	}
	return time.Duration(max(0, by))
}
