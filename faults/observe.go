package faults

import "github.com/faultctl/faultctl/faults/packet"

var observeKind = Kind{
	Name: "observe", Group: "control",
	Cause:   "Nothing goes wrong: only SYN, FIN and RST are looked at, and how each connection ends is reported.",
	Symptom: "None.",
	Remedy:  "Use it beside a fault, or before one, to see how connections end by themselves.",
	Example: "faultctl inject observe --to :5432 -o json",
	New:     func() Model { return new(Observe) },
}

// Observe is not a fault: it changes nothing and notes how each connection ends.
// It is the control of a comparison.
type Observe struct{}

// Validate implements Model.
func (m *Observe) Validate() error { return judge(m) }

// Diverts implements Model.
func (m *Observe) Diverts() Diversion {
	return Diversion{SYN: true, FIN: true, RST: true, NoCapture: true, Super: true}
}

// Start implements Model.
func (m *Observe) Start() Instance {
	return PerFlow(func() Fault { return &observe{} })
}

type observe struct{ closed [2]bool } // by direction: a FIN was seen

func (o *observe) OnSegment(ev *Event, out *Effects) Verdict {
	flags := ev.Seg.Flags()
	switch {
	case flags.Has(packet.RST):
		out.Note(SentRST, ev.Dir.To(), endings[shapeOf(ev.Seg)][o.stage(ev.Dir)])
	case flags.Has(packet.FIN) && !o.closed[ev.Dir]:
		o.closed[ev.Dir] = true
		out.Note(SentFIN, ev.Dir.To(), "FIN: the sender has closed")
	}
	return Pass
}

// stage says what came before a RST in that direction.
func (o *observe) stage(dir Direction) int {
	switch {
	case o.closed[dir]:
		return 1
	case o.closed[dir.Flip()]:
		return 2
	}
	return 0
}

// shapeOf tells the shapes of a RST apart: A, B, C.
func shapeOf(s packet.Segment) int {
	switch {
	case !s.Flags().Has(packet.ACK):
		return 1
	case s.Seq() == 0 && s.Window() == 0:
		return 2
	}
	return 0
}

// endings by shape, and by who had closed before: nobody, the sender of the RST,
// or the other end.
var endings = [3][3]string{
	{
		"RST+ACK that continues its stream: the sender aborted",
		"RST+ACK behind its own FIN: the sender had closed, and then aborted",
		"RST+ACK after the other end's FIN: the sender aborted instead of closing",
	},
	{
		"RST without ACK: the sender does not know the connection",
		"RST without ACK after its own FIN: the sender had closed, and more data came",
		"RST without ACK after the other end's FIN: the sender does not know the connection",
	},
	{
		"RST+ACK with sequence number 0: the port is closed",
		"RST+ACK with sequence number 0: the port is closed",
		"RST+ACK with sequence number 0: the port is closed",
	},
}

// Park implements Parker.
func (o *observe) Park() (state uint64, ok bool) {
	for d, closed := range o.closed {
		if closed {
			state |= 1 << d
		}
	}
	return state, true
}

// Unpark implements Parker.
func (o *observe) Unpark(state uint64) { o.closed = [2]bool{state&1 != 0, state&2 != 0} }
