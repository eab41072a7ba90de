package faults

import "github.com/faultctl/faultctl/faults/clue"

var lossKind = Kind{
	Name: "loss", Group: "link",
	Cause:   "Segments are lost on the way: a full queue, a bad cable, radio.",
	Symptom: "Nothing fails at first. TCP retransmits: latency jumps by the retransmission timeout (200 ms and more) and throughput falls; if everything is lost, ETIMEDOUT after a quarter of an hour.",
	Remedy:  "Set deadlines at the application level, hedge requests that are idempotent, set TCP_USER_TIMEOUT; watch retransmissions in tcp_info.",
	Example: "faultctl inject loss --chance 10% --to :5432",
	Demo:    Demo{Settings: "chance=30%"},
	Shows: []clue.Prediction{{
		Must:    clue.Of(clue.Silence, clue.Recovered),
		Settles: "a capture at the other end: whether what was sent again had arrived",
	}},
	New: func() Model { return new(Loss) },
}

// Loss is the fault loss: segments are lost on the way, independently or in
// bursts (the Gilbert-Elliott model, as netem has it).
type Loss struct {
	Chance      Chance  `knob:"chance" alias:"rate" help:"probability that a segment is lost"`
	BurstLength float64 `knob:"burst-length" alias:"burst" help:"mean number of segments lost in a row; 0 or 1: losses are independent"`
	Dir         Side    `knob:"dir" help:"whose segments: the client's, the server's, or both"`
}

// Validate implements Model.
func (m *Loss) Validate() error {
	if err := judge(m); err != nil {
		return err
	}
	if err := m.Chance.required(m, "chance", "lost"); err != nil {
		return err
	}
	rate := m.Chance.P()
	switch {
	case !(m.BurstLength >= 0 && m.BurstLength <= 1e6):
		return wrong(m, "burst-length", "it lies outside 0 to 1e6")
	case m.BurstLength > 1 && rate == 1:
		return wrong(m, "burst-length", "it means nothing where everything is lost")
	case m.BurstLength > 1 && rate > m.BurstLength/(m.BurstLength+1): // a burst would have to begin more often than always
		return wrong(m, "burst-length", "to lose %.4g%% takes longer bursts: %.3g or more", 100*rate, rate/(1-rate))
	}
	return nil
}

// Diverts implements Model.
func (m *Loss) Diverts() Diversion { return Diversion{SYN: true, All: true} }

// Start implements Model.
func (m *Loss) Start() Instance {
	m = completed(m)
	return PerFlow(func() Fault { return &loss{m: m} })
}

type loss struct {
	m     *Loss
	bad   [2]bool // by direction: in a burst of losses
	begun [2]bool
}

// onPath implements pathFault.
func (*loss) onPath() {}

func (l *loss) OnSegment(ev *Event, out *Effects) Verdict {
	if !l.m.Dir.Includes(ev.Dir.From()) || !l.lost(ev) {
		return Pass
	}
	out.Note(Dropped, ev.Dir.To(), "lost on the way")
	return Drop
}

// Adjust implements Adjuster.
func (l *loss) Adjust(fresh Fault) { l.m = fresh.(*loss).m }

// lost draws the fate of one segment. In bursts the model is in a bad state,
// in which all is lost, for BurstLength segments on average, and enters it as often
// as it takes to lose the share that Chance names.
func (l *loss) lost(ev *Event) bool {
	x, rate := ev.Rand.Float64(), l.m.Chance.P()
	if l.m.BurstLength <= 1 {
		return x < rate
	}
	bad, begun := &l.bad[ev.Dir], l.begun[ev.Dir]
	l.begun[ev.Dir] = true
	switch {
	case !begun: // the connection may begin during a burst
		*bad = x < rate
	case *bad:
		*bad = x >= 1/l.m.BurstLength
	default:
		*bad = x < rate/(l.m.BurstLength*(1-rate))
	}
	return *bad
}
