package faults

import (
	"cmp"
	"time"

	"github.com/faultctl/faultctl/faults/clue"
	"github.com/faultctl/faultctl/faults/packet"
)

// What happens to a flow that a device has forgotten.
const (
	rstNext    = "rst-next"
	silent     = "silent"
	rstBoth    = "rst-both"
	finBoth    = "fin-both"
	clientOnly = "client-only"
	insideOnly = "inside-only"
)

var idleExpireKind = Kind{
	Name: "idle-expire", Group: "reset",
	Cause:   "A NAT, load balancer, firewall or mobile network forgets a flow that was idle for too long, often without telling either end; only the next packet finds out.",
	Symptom: "The first write after the pause succeeds, the RST comes back one round trip later, the next read fails with ECONNRESET (Java: Connection reset) and the next write with EPIPE (Broken pipe). With then=silent writes succeed until ETIMEDOUT, a quarter of an hour later.",
	Remedy:  "Send heartbeats, or TCP keepalive probes, at an interval below the shortest idle timeout on the path; validate a pooled connection when it is borrowed, or retire it before the timeout; set TCP_USER_TIMEOUT against silence.",
	Example: "faultctl inject idle-expire --after 300s --to :5432",
	Demo:    Demo{Settings: "after=1s"},
	Verify: []Verify{{
		Settings: "after=1s",
		Moment:   "Have the command leave a connection idle for longer than that between two requests, or give a shorter time (--faults idle-expire:after=200ms).",
	}},
	Shows: []clue.Prediction{{
		Must:    clue.Of(clue.Open, clue.Reset, clue.AnswerRST, clue.Idle),
		OneOf:   clue.Of(clue.ToData, clue.ToProbe),
		Cannot:  clue.Of(clue.AuthorFIN, clue.HostTTL),
		Likely:  clue.Of(clue.DeviceTTL, clue.TooSoon),
		Repeat:  "after={idle}",
		Settles: "a capture at the other end: if it shows no RST, a device on the path sent this one",
	}, {
		Must:    clue.Of(clue.Open, clue.Reset, clue.AnswerRST, clue.Idle, clue.Unprovoked),
		Cannot:  clue.Of(clue.AuthorFIN),
		Likely:  clue.Of(clue.DeviceTTL),
		Repeat:  "after={idle},then=rst-both",
		Settles: "a capture at the other end: if it got a RST as well, a device on the path reset both",
	}, {
		Must:    clue.Of(clue.Open, clue.Silence, clue.Idle),
		Cannot:  clue.Of(clue.Unreachable, clue.LargeOnly, clue.Recovered),
		Repeat:  "after={idle},then=silent",
		Settles: "a capture at the other end: if it still answers others, and these segments do not arrive, a device on the path forgot the connection",
	}, {
		Must:    clue.Of(clue.Open, clue.Reset, clue.AnswerRST, clue.AuthorFIN, clue.FINAfterIdle),
		Cannot:  clue.Of(clue.VictimFIN),
		Repeat:  "after={idle},then=fin-both",
		Settles: "the idle timeout of the proxy or the service that closed",
	}},
	New: func() Model { return new(IdleExpire) },
}

// IdleExpire is the fault idle-expire: a NAT, load balancer, firewall or mobile
// network forgets a flow that was idle for too long.
type IdleExpire struct {
	After      time.Duration `knob:"after" help:"how long a flow may be idle; with a preset, if not given, as long as that device allows"`
	Preset     string        `knob:"preset" help:"the timeout and the behaviour of a real device, of which after, then and keepalives may be changed; faultctl faults idle-expire lists them"`
	Then       string        `knob:"then" oneof:"|rst-next|silent|rst-both|fin-both|client-only|inside-only" help:"what the device does with an expired flow; if not given, as the preset has it, or rst-next"`
	Refresh    string        `knob:"refresh" default:"all" oneof:"all|data|client|server" help:"which segments keep the flow alive"`
	Keepalives string        `knob:"keepalives" oneof:"|count|ignore" help:"whether an ACK with at most one byte of payload keeps the flow alive: keepalive probes look so, and window updates too; if not given, as the preset has it (proxies ignore them), or count"`
	DeviceTTL  int           `knob:"device-ttl" default:"64" help:"TTL of the device's own segments"`
	RTT        RTT           `knob:"rtt" help:"how long the device's answer takes; auto: at once, since it is near"`
}

// Validate implements Model.
func (m *IdleExpire) Validate() error {
	if err := judge(m); err != nil {
		return err
	}
	switch {
	case m.Preset != "" && unknown(m.Preset) != nil:
		return wrong(m, "preset", "%w", unknown(m.Preset))
	case m.Preset == "" && m.After == 0:
		return wrong(m, "after", "how long may a flow be idle? Give a time, such as 300s, or a preset")
	case m.After != 0 && m.After < 10*time.Millisecond:
		return wrong(m, "after", "the kernel cannot tell an idle time of less than 10ms (%v)", m.After)
	}
	if m.DeviceTTL > 255 {
		return wrong(m, "device-ttl", "%d lies outside 1 to 255", m.DeviceTTL)
	}
	return nil
}

// unknown is what is wrong with the name of a preset, or nil.
func unknown(preset string) error {
	_, err := FindPreset(preset)
	return err
}

// resolved is a copy in which After, Then and Keepalives are set, whatever they come
// from.
func (m *IdleExpire) resolved() *IdleExpire {
	m = completed(m)
	if p, err := FindPreset(m.Preset); err == nil {
		if m.After == 0 {
			m.After = p.After
		}
		m.Then = cmp.Or(m.Then, p.Then)
		m.Keepalives = cmp.Or(m.Keepalives, p.Keepalives)
	}
	if m.Then == "" {
		m.Then = rstNext
	}
	return m
}

// Diverts implements Model.
func (m *IdleExpire) Diverts() Diversion {
	m = m.resolved()
	both := m.Then == rstBoth || m.Then == finBoth // it acts when the time is over, and must know who has closed
	return Diversion{SYN: true, FIN: both, RST: both, Idle: m.After, Refresh: m.refresh(), NoCapture: true}
}

// refresh says what keeps a flow alive.
func (m *IdleExpire) refresh() Refresh {
	var r Refresh
	switch m.Refresh {
	case "data":
		r.MinPayload = 1
	case "client":
		r.From = Client
	case "server":
		r.From = Server
	}
	if m.Keepalives == ignored {
		r.MinPayload = 2
	}
	return r
}

// Start implements Model.
func (m *IdleExpire) Start() Instance {
	m = m.resolved()
	return PerFlow(func() Fault { return &idleExpire{m: m} })
}

type idleExpire struct {
	m        *IdleExpire
	prober   prober
	started  bool
	expired  bool
	told     bool          // both ends were told
	gone     [2]bool       // fin-both: the proxy's socket that faces this sender is gone
	admitted time.Duration // when the flow was last busy; of a flow that was open before, Flow.Since
}

func (i *idleExpire) OnSegment(ev *Event, out *Effects) Verdict {
	if !i.expired && !i.expires(ev) {
		i.admit(ev, out)
		return Pass
	}
	i.expired = true
	switch i.m.Then {
	case rstBoth, finBoth:
		return i.afterBoth(ev, out)
	case silent:
		out.Note(Dropped, ev.Dir.To(), "the flow is forgotten")
		return Drop
	case insideOnly:
		if ev.Dir == Reply {
			out.Note(Dropped, Client, "the flow is forgotten")
			return Drop
		}
	case clientOnly:
		if ev.Dir == Reply {
			i.tell(out, ev.Flow.Device(Reply, i.ttl(), packet.RST, ev.Seg.Seq(), 0), Client)
			return Drop
		}
	}
	if f, ok := packet.DeviceAnswer(ev.Seg, i.ttl()); ok {
		i.tell(out, f, ev.Dir.From())
	}
	return Drop
}

// expires reports whether the segment finds the flow forgotten: it was handed
// over at least the idle time after the flow was last admitted. An admitted flow
// stays out of user space for at least that time, except for segments that another
// fault diverts.
func (i *idleExpire) expires(ev *Event) bool {
	if !i.started {
		i.started = true
		if !ev.Flow.Midstream {
			return false
		}
		i.admitted = ev.Flow.Since
	}
	return !ev.Busy && ev.At-i.admitted >= i.m.After
}

// admit lets the kernel watch the flow from here on, if the segment is one
// that counts or the first.
func (i *idleExpire) admit(ev *Event, out *Effects) {
	if ev.Flow.Segments > 1 && !i.m.refresh().Counts(ev.Dir, ev.Seg.PayloadLen()) {
		return
	}
	i.admitted = ev.At
	if both := i.m.Then == rstBoth || i.m.Then == finBoth; both {
		out.Wake(i.m.After)
		if !ev.Flow.Midstream && !ev.Flow.Half[Reply].Seen {
			return // only an end whose segments were seen can be spoken for: the SYN-ACK is next
		}
	}
	out.Admit()
}

func (i *idleExpire) tell(out *Effects, f packet.Fields, to Side) {
	if i.m.RTT.fixed {
		out.ForgeAfter(i.m.RTT.d, f, nil)
	} else {
		out.Forge(f, nil) // the device is nearer than the other end
	}
	out.Note(SentRST, to, "the flow was idle and is forgotten")
}

func (i *idleExpire) ttl() uint8 { return uint8(i.m.DeviceTTL) }

// OnWake implements Waker, for the devices that tell both ends when the time
// is over. The kernel may have seen segments meanwhile that user space did
// not.
func (i *idleExpire) OnWake(ev *Event, out *Effects) {
	switch {
	case i.told:
	case !i.expired && ev.Idle < i.m.After:
		i.admitted = max(i.admitted, ev.At-ev.Idle) // the kernel has let something pass
		out.Wake(i.m.After - ev.Idle)
	default:
		i.expired = true
		if !i.prober.ask(ev, out) {
			out.Note(Dropped, Both, "the flow is forgotten, its ends did not say where they are")
		}
	}
}

// afterBoth judges a segment of an expired flow whose ends are both told. The
// first one that tells the sequence numbers is swallowed, and both ends are told.
func (i *idleExpire) afterBoth(ev *Event, out *Effects) Verdict {
	switch {
	case ev.Seg.Flags().Has(packet.RST):
		return Drop
	case !i.told && !i.tells(ev):
		if i.prober.asked == AnySide {
			i.prober.ask(ev, out)
		}
	case !i.told:
		i.told = true
		i.tellBoth(ev, out)
	case i.m.Then == finBoth:
		i.afterFIN(ev, out)
	default:
		if f, ok := packet.DeviceAnswer(ev.Seg, i.ttl()); ok {
			i.tell(out, f, ev.Dir.From())
		}
	}
	return Drop
}

// tells reports whether the segment tells what both ends expect. A bare ACK that was
// not asked for may be a keepalive probe, whose sequence number is one too low.
func (i *idleExpire) tells(ev *Event) bool {
	return ev.Seg.Flags().Has(packet.ACK) && (ev.Seg.SeqLen() > 1 || ev.Seg.Flags().Has(packet.FIN) || ev.Dir.From() == i.prober.asked)
}

// tellBoth ends the flow at both ends. The segment tells what both ends
// expect, since nothing was in flight.
func (i *idleExpire) tellBoth(ev *Event, out *Effects) {
	sent, acked := ev.Seg.Seq(), ev.Seg.Ack()
	end := ev.Seg.End()
	if from, peer := &ev.Flow.Half[ev.Dir], &ev.Flow.Half[ev.Dir.Flip()]; ev.Seg.SeqLen() == 0 {
		sent = packet.Max(sent, from.Next) // it may be a probe
		if peer.HasAck {
			sent = packet.Max(sent, peer.Ack)
		}
		end = sent
	}
	for _, d := range [...]Direction{ev.Dir.Flip(), ev.Dir} {
		seq, ack := sent, acked
		if d != ev.Dir {
			seq, ack = acked, end
		}
		if i.m.Then == finBoth {
			fin := i.fin(ev, d, seq, ack)
			if d == ev.Dir {
				fin.ID = ev.Seg.ID() // in place of the segment that is swallowed
			}
			out.Forge(fin, nil)
			out.Note(SentFIN, d.To(), "the flow was idle, the proxy closes it")
			continue
		}
		out.Forge(ev.Flow.Device(d, i.ttl(), packet.RST, seq, 0), nil)
		out.Note(SentRST, d.To(), "the flow was idle and is forgotten")
	}
}

// fin is the close of a proxy: it continues the stream of the end in whose
// name it is sent.
func (i *idleExpire) fin(ev *Event, d Direction, seq, ack packet.Seq) packet.Fields {
	f, ok := ev.Flow.Like(d, ev.At, packet.FIN|packet.ACK)
	if !ok {
		f = ev.Flow.Device(d, i.ttl(), packet.FIN|packet.ACK, seq, ack)
		f.Window = 0xffff
	}
	f.Seq, f.Ack = seq, ack
	return f
}

// afterFIN answers like a proxy that has closed both ways: a FIN is
// acknowledged, data is answered by a RST, a bare ACK not at all.
func (i *idleExpire) afterFIN(ev *Event, out *Effects) {
	switch {
	case ev.Seg.PayloadLen() > 0:
		// The proxy is the other end. Its host answers, the first time while its
		// socket still exists.
		g := ghost{dead: Both, rtt: i.m.RTT}
		if !i.gone[ev.Dir] {
			i.gone[ev.Dir], g.label = true, ev.Flow.Half[ev.Dir.Flip()].Label
		}
		g.onSegment(ev, out, "the proxy has closed")
	case ev.Seg.Flags().Has(packet.FIN):
		f := i.fin(ev, ev.Dir.Flip(), ev.Seg.Ack(), ev.Seg.End())
		f.Flags, f.ID, f.DF = packet.ACK, 0, true // of a socket in TIME_WAIT
		out.Forge(f, nil)
	}
}

// Park implements Parker.
func (i *idleExpire) Park() (uint64, bool) {
	return pack(i.admitted, i.started), !i.expired && !i.told && i.prober == prober{}
}

// Unpark implements Parker.
func (i *idleExpire) Unpark(state uint64) { i.admitted, i.started = unpack(state) }
