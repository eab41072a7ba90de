package faults

import (
	"time"

	"github.com/faultctl/faultctl/faults/clue"
	"github.com/faultctl/faultctl/faults/packet"
)

var resetKind = Kind{
	Name: "reset", Group: "reset",
	Cause:   "An unexpected RST, once or now and then: a crashing middlebox, a firewall whose rules changed, an operator's ss -K, or a bug that nobody has found.",
	Symptom: "The call in progress fails with ECONNRESET: recv if the application was reading (Java: Connection reset), send if it was writing (Java: Connection reset by peer). After that recv returns 0 and send fails with EPIPE (Broken pipe). In SYN_SENT connect fails with ECONNREFUSED.",
	Remedy:  "Treat ECONNRESET as one failed attempt: reconnect, and retry only what is idempotent. Have the pool validate connections when they are borrowed, and limit their lifetime.",
	Example: "faultctl inject reset --at request --percent 10 --to :8080",
	Verify:  []Verify{{Settings: "at=request"}, {Settings: "at=ready", Moment: readyMoment}},
	Shows: []clue.Prediction{{
		Must:    clue.Of(clue.Open, clue.Reset, clue.ActiveRST),
		Cannot:  clue.Of(clue.ProbesIgnored, clue.KernelUnread),
		Repeat:  "at=response,hit=client,shape=a",
		Settles: "the log of whoever destroys sockets there (ss -K); explain live at that host: which process the kernel names (tcp:tcp_send_reset)",
	}, {
		Must:    clue.Of(clue.Open, clue.Reset, clue.AnswerRST, clue.Unprovoked),
		Cannot:  clue.Of(clue.AuthorFIN, clue.Idle),
		Repeat:  "at=response,hit=client,shape=b",
		Settles: "a capture at the other end: if it shows no RST, a device on the path sent this one",
	}, {
		Must:    clue.Of(clue.Open, clue.Reset, clue.AnswerRST, clue.DeviceTTL),
		OneOf:   clue.Of(clue.ToData, clue.ToProbe, clue.ToFIN),
		Cannot:  clue.Of(clue.AuthorFIN, clue.Idle),
		Repeat:  "at=request,hit=client,shape=b",
		Settles: "a capture at the other end: if it shows no RST, a firewall or an intrusion prevention system on the path sent this one",
	}},
	New: func() Model { return new(Reset) },
}

// Reset is the fault reset: an unexpected RST. When the moment comes, the
// deciding segment is swallowed, each end that is hit receives a RST that it accepts
// at the first try, and from then on the ends that are not hit are ghosts.
type Reset struct {
	At           Trigger       `knob:"at" default:"request" help:"when the RST is sent"`
	BytesOf      Side          `knob:"bytes-of" alias:"dir" help:"whose payload counts for --at bytes=N: the client's, the server's, or both"`
	Hit          Side          `knob:"hit" help:"who receives it"`
	Shape        string        `knob:"shape" default:"auto" oneof:"auto|a|b" help:"a: as a socket aborts (RST+ACK, timestamps); b: as a host without the connection answers; auto: whichever fits the moment"`
	MeanLifetime time.Duration `knob:"mean-lifetime" help:"instead of --at: at a random age, exponentially distributed with this mean; 0: off"`
	Chance       Chance        `knob:"chance" alias:"rate" help:"instead of --at: the probability that a segment triggers it"`
	Other        string        `knob:"other" default:"auto" oneof:"auto|reset|isolate|answer" help:"what happens to the end that is not hit: reset sends it a RST as well, isolate drops what it sends, answer has it learn with its own next segment, which a RST answers; auto: isolate"`
	RTT          RTT           `knob:"rtt" help:"how long an answer takes; auto: as long as the handshake did"`
}

// Validate implements Model.
func (m *Reset) Validate() error {
	if err := judge(m); err != nil {
		return err
	}
	const three = "at, mean-lifetime and chance are three ways to choose the moment: give one"
	switch {
	case m.MeanLifetime > 0 && m.Chance.Given():
		return wrong(m, "mean-lifetime", three)
	case m.At.kind != atNever && (m.MeanLifetime > 0 || m.Chance.Given()):
		return wrong(m, "at", three)
	}
	return m.At.mayCount(m, m.BytesOf)
}

// Diverts implements Model.
func (m *Reset) Diverts() Diversion {
	if m.MeanLifetime > 0 || m.Chance.Given() {
		return Diversion{SYN: true, All: true}
	}
	return completed(m).At.diverts()
}

// Start implements Model.
func (m *Reset) Start() Instance {
	m = completed(m)
	m.At = m.At.of(m.BytesOf)
	return PerFlow(func() Fault { return &reset{m: m} })
}

type reset struct {
	m       *Reset
	trigger trigger
	prober  prober
	started bool
	armed   bool // the moment has come, and the numbers are awaited
	done    bool
}

func (r *reset) OnSegment(ev *Event, out *Effects) Verdict {
	switch {
	case r.done:
		dead := r.m.Hit.Other()
		if r.m.Other == "answer" {
			dead = Both // each end finds the other one gone
		}
		return ghost{dead: dead, rtt: r.m.RTT}.onSegment(ev, out, "the connection was reset")
	case r.armed && ev.Seg.Flags().Has(packet.RST):
		return Pass // it has ended by itself
	case r.armed || r.due(ev, out):
		return r.fire(ev, out)
	}
	return Pass
}

// bury implements burier: the client was told that the server knows nothing of the
// connection.
func (r *reset) bury(ev *Event, out *Effects) {
	if r.done && r.m.Hit == Client && r.m.Other != "answer" {
		disposeAtRest(ev, out)
	}
}

// due reports whether this is the moment.
func (r *reset) due(ev *Event, out *Effects) bool {
	first := !r.started
	r.started = true
	switch {
	case r.trigger.prompted:
		return true
	case r.m.Chance.Given():
		return r.m.Chance.draw(ev.Rand)
	case r.m.MeanLifetime > 0:
		if first {
			out.Wake(time.Duration(ev.Rand.ExpFloat64() * float64(r.m.MeanLifetime)))
			out.Release()
		}
		return false
	}
	return r.trigger.onSegment(&r.m.At, ev, out)
}

// OnWake implements Waker: the moment has come although nothing arrives. The
// flow was let pass, so an end is probed for its sequence numbers first; a
// segment of the flow that arrives meanwhile tells them too.
func (r *reset) OnWake(ev *Event, out *Effects) {
	if r.done {
		return
	}
	r.armed = true
	out.Capture()
	if !r.prober.ask(ev, out) {
		r.armed = false
		out.Release()
	}
}

func (r *reset) fire(ev *Event, out *Effects) Verdict {
	r.done, r.armed = true, false
	out.Capture()
	v := Drop
	for _, s := range [...]Side{Client, Server} {
		switch {
		case r.m.Hit.Includes(s):
			if r.hit(ev, out, s) == Accept {
				v = Accept // the deciding segment became one of the resets
			}
		case r.m.Other == "reset":
			dispose(ev, out, s)
		}
	}
	return v
}

// hit resets one side and returns the verdict on the deciding segment: if
// it travels to that side and is what that side expects, it becomes the reset
// itself, which then has shape A byte for byte.
func (r *reset) hit(ev *Event, out *Effects, s Side) Verdict {
	f, ok := resetTo(ev, s, r.m.Shape)
	if !ok {
		return Drop // it has not seen anything of the connection yet
	}
	if r.prober.asked != AnySide && ev.Dir.From() == s && f.Flags.Has(packet.ACK) {
		f.Ack = packet.Max(f.Ack, ev.Seg.Seq()) // what passed unseen has arrived
	}
	out.Note(SentRST, s, "reset")
	if ev.Dir.To() == s && r.m.Shape != shapeB && f.Seq == ev.Seg.Seq() && !ev.Seg.Flags().Has(packet.SYN) && r.prober.asked == AnySide {
		out.Replace(packet.AbortInPlace(out.Copy(ev.Seg)))
		return Accept
	}
	if ev.Dir.From() == s {
		r.m.RTT.answer(out, f)
	} else {
		out.Forge(f, nil)
	}
	return Drop
}
