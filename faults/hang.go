package faults

import (
	"time"

	"github.com/faultctl/faultctl/faults/clue"
)

var hangKind = Kind{
	Name: "hang", Group: "reset",
	Cause:   "The server's process hangs in the middle of its answer: it was stopped (SIGSTOP, a debugger, a frozen container), collects garbage, waits for a lock or for a disk. Its kernel lives on.",
	Symptom: "Part of an answer arrives and then nothing: reads wait. Writes succeed, and the peer's kernel acknowledges them, until its window is closed. There is never an error, since the kernel answers probes, keepalive probes included.",
	Remedy:  "Set a deadline on each read, or on progress, not only on the first byte; have a download resume. Keepalive and TCP_USER_TIMEOUT do not notice: the kernel is well.",
	Example: "faultctl inject hang --at bytes=5m --bytes-of server --to :8080",
	Verify:  []Verify{{Settings: "at=response"}, {Settings: "at=ready", Moment: readyMoment}},
	Shows: []clue.Prediction{{
		Must:    clue.Of(clue.Open, clue.Unanswered),
		Weak:    true,
		Rare:    true,
		Settles: "what the process that should answer is doing: its state in ps (T: stopped), its stack, its collector's log",
	}},
	New: func() Model { return new(Hang) },
}

// Hang is the fault hang: from a moment on an end's program neither sends nor reads,
// as when it was stopped by a signal. Its kernel goes on: it acknowledges what fits
// into its receive buffer, closes its window when that is full, and answers probes.
//
// Where it differs from [Stall]: what the end still sends is held back as well,
// whether or not it was sent anything new. So its data stop at that byte, as if its
// send buffer had been empty when it was stopped. What is held back is offered no
// window, so it waits in the end's own send buffer and arrives when the hang is over;
// what was under way already is swallowed, and sent again when its sender's
// retransmission timer says so, at most as long after the hang as that has lasted.
type Hang struct {
	Side    Side          `knob:"side" default:"server" help:"which end hangs"`
	At      Trigger       `knob:"at" default:"response" help:"when it hangs; of a segment of its own with payload half arrives, and with bytes=N as much as makes N"`
	BytesOf Side          `knob:"bytes-of" help:"whose payload counts for --at bytes=N: the client's, the server's, or both"`
	For     time.Duration `knob:"for" help:"how long it hangs; 0: for ever"`
}

// Validate implements Model.
func (m *Hang) Validate() error {
	if err := judge(m); err != nil {
		return err
	}
	if m.Side == Both {
		return wrong(m, "side", "it is the end that hangs: client or server")
	}
	return m.At.mayCount(m, m.BytesOf)
}

// Diverts implements Model.
func (m *Hang) Diverts() Diversion {
	return completed(m).At.diverts().Union(Diversion{Whole: true})
}

// Start implements Model.
func (m *Hang) Start() Instance {
	m = completed(m)
	s := &Stall{Side: m.Side, At: m.At.of(m.BytesOf), For: m.For}
	return PerFlow(func() Fault { return &stall{m: s, hangs: true} })
}

// hang holds back what the stalled side sends from here on, at the segment at which
// the moment has come, or, if the flow passed unseen until then, after what its peer
// may have received.
func (s *stall) hang(ev *Event, out *Effects) {
	s.state = stallSilent
	d := s.m.Side.Sends()
	limit, known := ev.Flow.Expects(d)
	if n := ev.Seg.PayloadLen(); ev.Dir == d && n > 0 && ev.Fresh {
		limit, known = ev.Seg.Seq().Add(uint32(s.m.At.arrives(ev.Flow, n))), true
	} else {
		s.shut(ev.Flow, out) // else what is cut off has it shut
	}
	if known {
		s.cut, s.hasCut = limit, true
	}
}

// arrives is how much still arrives of a segment with n bytes of new payload at which
// the trigger has fired.
func (t *Trigger) arrives(f *Flow, n int) int {
	if t.kind == atBytes {
		return n - int(min(t.carried(f)-t.n, uint64(n)))
	}
	return n / 2
}
