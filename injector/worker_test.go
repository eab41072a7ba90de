package injector

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/rawsock"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
	"github.com/faultctl/faultctl/injector/internal/watchdog"
	"github.com/faultctl/faultctl/injector/target"
	"golang.org/x/sys/unix"
)

// fakeQueue plays the kernel's queue: it records the verdicts.
type fakeQueue struct{ verdicts []nfqueue.Verdict }

func (q *fakeQueue) Receive([]nfqueue.Packet, time.Duration) (int, bool, error) { return 0, false, nil }
func (q *fakeQueue) Verdict(v nfqueue.Verdict) {
	c := v
	if v.Bytes != nil {
		c.Bytes = append([]byte(nil), v.Bytes...)
	}
	q.verdicts = append(q.verdicts, c)
}
func (q *fakeQueue) Flush() error { return nil }
func (q *fakeQueue) Wake()        {}
func (q *fakeQueue) Close() error { return nil }

// fakeSender records what is sent.
type fakeSender struct {
	pkts  [][]byte
	marks []uint32
	fail  error // of all that is sent
}

func (s *fakeSender) Send(pkts []rawsock.Packet) (int, error) {
	if s.fail != nil {
		return len(pkts), s.fail
	}
	for _, p := range pkts {
		s.pkts, s.marks = append(s.pkts, append([]byte(nil), p.Bytes...)), append(s.marks, p.Mark)
	}
	return 0, nil
}
func (s *fakeSender) Close() error { return nil }

// fakeSets records the changes to the kernel's sets.
type fakeSets struct {
	ops    []string
	idleOf map[int]time.Duration // by rule
}

func (s *fakeSets) setFlow(op ruleset.SetOp, kind ruleset.SetKind, _ flowKey) error {
	s.ops = append(s.ops, op.String()+" "+kind.String())
	return nil
}
func (s *fakeSets) idle(rule int, _ flowKey) time.Duration { return s.idleOf[rule] }
func (s *fakeSets) owned(int, flowKey) bool                { return true }

// bench is a worker between two fakes, with a clock that the test sets.
type bench struct {
	*worker
	q    *fakeQueue
	s    *fakeSender
	sets *fakeSets
	now  time.Duration
	id   nfqueue.ID
	ip   uint16 // identification of the next packet that comes uncut

	unnumbered bool // such packets may be fragmented
}

func newBench(t testing.TB, rules ...Rule) *bench {
	t.Helper()
	cfg := Config{Rules: rules}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	return benchOf(newShared(rules, 0, slog.New(slog.DiscardHandler)))
}

// benchOf is a worker of a run between two fakes.
func benchOf(sh *shared) *bench {
	b := &bench{q: &fakeQueue{}, s: &fakeSender{}, sets: &fakeSets{}}
	dog, _ := watchdog.New(-1, 1)
	sh.clock = func() time.Duration { return b.now }
	b.worker = newWorker(sh, b.q, b.s, b.sets, dog.Handle())
	return b
}

var (
	client = netip.MustParseAddrPort("10.0.0.1:40000")
	server = netip.MustParseAddrPort("10.0.0.2:5432")
)

// segment builds a segment from client to server, or back.
func segment(dir faults.Direction, flags packet.Flags, seq, ack packet.Seq, payload string) []byte {
	f := packet.Fields{Src: client, Dst: server, TTL: 64, DF: true, Seq: seq, Ack: ack, Flags: flags, Window: 1000}
	if dir == faults.Reply {
		f.Src, f.Dst = server, client
	}
	return f.Append(nil, []byte(payload))
}

// runTimers does all that is due: the worker does a part of it at a time.
func (b *bench) runDue(now time.Duration) {
	for at, ok := b.timers.next(); ok && at <= now; at, ok = b.timers.next() {
		b.worker.runTimers(now)
	}
}

// judge has the worker judge a packet and returns the verdict.
func (b *bench) judge(t testing.TB, hook uint8, pkt []byte) nfqueue.Verdict {
	t.Helper()
	b.id++
	before := len(b.q.verdicts)
	b.handle(&nfqueue.Packet{ID: b.id, Hook: hook, Bytes: pkt, Mark: 7, Priority: 5})
	if n := len(b.q.verdicts) - before; n != 1 {
		t.Fatalf("%d verdicts for one packet", n)
	}
	return b.q.verdicts[before]
}

func model(t testing.TB, name string, knobs ...string) NamedModel {
	t.Helper()
	k, err := faults.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	m := k.New()
	for i := 0; i < len(knobs); i += 2 {
		if err := faults.Set(m, knobs[i], knobs[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	return NamedModel{name, m}
}

// fakeModel diverts what it is told to and never acts.
type fakeModel struct{ d faults.Diversion }

func (m fakeModel) Validate() error                                         { return nil }
func (m fakeModel) Diverts() faults.Diversion                               { return m.d }
func (m fakeModel) Start() faults.Instance                                  { return faults.PerFlow(func() faults.Fault { return m }) }
func (m fakeModel) OnSegment(*faults.Event, *faults.Effects) faults.Verdict { return faults.Pass }

func fake(d faults.Diversion) []NamedModel { return []NamedModel{{"fake", fakeModel{d}}} }

func ruleOf(m NamedModel) Rule {
	return Rule{Match: target.Matcher{To: []target.Endpoint{{LowPort: 5432, HighPort: 5432}}}, Faults: []NamedModel{m}}
}

const (
	localIn  = unix.NF_INET_LOCAL_IN
	localOut = unix.NF_INET_LOCAL_OUT
	forward  = unix.NF_INET_FORWARD
)

func TestForeignPacketsPass(t *testing.T) {
	b := newBench(t, ruleOf(model(t, "reset")))
	udp := segment(faults.Original, packet.SYN, 0, 0, "")
	udp[9] = 17
	if v := b.judge(t, forward, udp); v.Drop || v.Signal != 0 {
		t.Errorf("verdict %+v on a packet that is no TCP", v)
	}
	if got := b.totals.foreign.Load(); got != 1 {
		t.Errorf("foreign = %d, want 1", got)
	}
}

func TestDropWithCaptureIsOneVerdict(t *testing.T) {
	b := newBench(t, ruleOf(model(t, "reset", "at", "syn")))
	v := b.judge(t, forward, segment(faults.Original, packet.SYN, 100, 0, ""))
	if want := uint32(ruleset.Forget | ruleset.Capture | ruleset.Drop); v.Drop || v.Signal != want {
		t.Errorf("verdict drop=%v signal=%#x, want an accept with signal %#x", v.Drop, v.Signal, want)
	}
	if len(b.s.pkts) != 1 || b.s.marks[0] != 7 {
		t.Fatalf("sent %d packets with marks %v, want one with the mark of its flow", len(b.s.pkts), b.s.marks)
	}
	rst, err := packet.Parse(b.s.pkts[0])
	if err != nil || rst.Flags() != packet.RST|packet.ACK || rst.Ack() != 101 || rst.Seq() != 0 {
		t.Errorf("forged %v seq %d ack %d, %v; want R. seq 0 ack 101", rst.Flags(), rst.Seq(), rst.Ack(), err)
	}
}

func TestReplySaysItsDirection(t *testing.T) {
	b := newBench(t, ruleOf(model(t, "idle-expire", "after", "1s")))
	v := b.judge(t, forward, segment(faults.Reply, packet.ACK, 1, 1, "x"))
	if want := uint32(ruleset.Admit | ruleset.Reply); v.Signal != want {
		t.Errorf("signal %#x, want %#x", v.Signal, want)
	}
	if v.Priority != 5 {
		t.Errorf("priority %d, want the packet's own, 5", v.Priority)
	}
}

func TestUnchosenFlowIsReleasedOnce(t *testing.T) {
	r := ruleOf(model(t, "reset"))
	r.Pick.Skip = 1
	b := newBench(t, r)
	v := b.judge(t, forward, segment(faults.Original, packet.SYN, 100, 0, ""))
	if want := uint32(ruleset.Forget | ruleset.Release); v.Signal != want {
		t.Errorf("signal %#x on the first segment, want %#x", v.Signal, want)
	}
	if v := b.judge(t, forward, segment(faults.Original, packet.ACK, 101, 1, "")); v.Signal != 0 {
		t.Errorf("signal %#x on the second segment, want none", v.Signal)
	}
}

func TestNewConnectionOnOldAddresses(t *testing.T) {
	r := ruleOf(model(t, "reset", "at", "syn"))
	r.Pick.First = 1
	b := newBench(t, r)
	b.judge(t, forward, segment(faults.Original, packet.SYN, 100, 0, ""))
	if v := b.judge(t, forward, segment(faults.Original, packet.SYN, 100, 0, "")); !v.Drop {
		t.Errorf("a retransmitted SYN of a dead connection got %+v, want a drop", v)
	}
	if v := b.judge(t, forward, segment(faults.Original, packet.SYN, 9000, 0, "")); v.Drop || v.Signal&uint32(ruleset.Forget) == 0 {
		t.Errorf("the SYN of a new connection got %+v, want it to pass and to clear the sets", v)
	}
	if n := len(b.flows.flows) + b.parked.n; n != 1 {
		t.Errorf("%d flows known, want 1", n)
	}
}

// delayModel holds everything back.
type delayModel struct{ by time.Duration }

func (m delayModel) Validate() error           { return nil }
func (m delayModel) Diverts() faults.Diversion { return faults.Diversion{All: true} }
func (m delayModel) Start() faults.Instance    { return faults.PerFlow(func() faults.Fault { return m }) }
func (m delayModel) OnSegment(ev *faults.Event, out *faults.Effects) faults.Verdict {
	if ev.At < time.Second { // the fault ends while packets are still held
		out.Delay(m.by)
	}
	return faults.Pass
}

// TestHeld holds that a packet is held in the queue where that is harmless and
// copied, dropped and sent again where it is not, and that nothing overtakes.
func TestHeld(t *testing.T) {
	for name, hook := range map[string]uint8{"input": localIn, "forward": forward, "output": localOut} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, ruleOf(NamedModel{"delay", delayModel{50 * time.Millisecond}}))
			first := segment(faults.Original, packet.ACK, 1, 1, "first")
			second := segment(faults.Original, packet.ACK, 6, 1, "second")
			b.now = time.Second - 10*time.Millisecond
			b.handle(&nfqueue.Packet{ID: 1, Hook: hook, Bytes: first})
			b.now = time.Second + 10*time.Millisecond
			b.handle(&nfqueue.Packet{ID: 2, Hook: hook, Bytes: second})
			early := len(b.q.verdicts)
			b.runDue(time.Second + 39*time.Millisecond)
			if len(b.s.pkts) != 0 || len(b.q.verdicts) != early {
				t.Error("something left before its time")
			}
			b.runDue(time.Second + 40*time.Millisecond)
			if hook == localOut {
				for _, v := range b.q.verdicts {
					if !v.Drop {
						t.Errorf("verdict %+v in output, want a drop", v)
					}
				}
				if len(b.s.pkts) != 2 || string(b.s.pkts[0]) != string(first) || string(b.s.pkts[1]) != string(second) {
					t.Errorf("sent %d packets, want both, byte for byte and in order", len(b.s.pkts))
				}
				return
			}
			if len(b.q.verdicts) != 2 || b.q.verdicts[0].ID != 1 || b.q.verdicts[1].ID != 2 || len(b.s.pkts) != 0 {
				t.Errorf("verdicts %+v, want 1 and 2 accepted in order", b.q.verdicts)
			}
		})
	}
}

// TestDrainLosesNothing holds that the end of a run lets go what is held.
func TestDrainLosesNothing(t *testing.T) {
	b := newBench(t, ruleOf(NamedModel{"delay", delayModel{time.Hour}}))
	b.handle(&nfqueue.Packet{ID: 1, Hook: forward, Bytes: segment(faults.Original, packet.ACK, 1, 1, "held")})
	b.handle(&nfqueue.Packet{ID: 2, Hook: localOut, Bytes: segment(faults.Reply, packet.ACK, 1, 5, "copied")})
	if err := b.emptyQueue(); err != nil {
		t.Fatal(err)
	}
	var accepted int
	for _, v := range b.q.verdicts {
		if !v.Drop {
			accepted++
		}
	}
	if accepted != 1 || len(b.s.pkts) != 1 {
		t.Errorf("%d accepted and %d sent at the end, want one each", accepted, len(b.s.pkts))
	}
}

// slowSets takes its time for each change.
type slowSets struct {
	fakeSets
	ready chan struct{}
}

func (s *slowSets) setFlow(op ruleset.SetOp, kind ruleset.SetKind, f flowKey) error {
	<-s.ready
	return nil
}

// TestDrainWaitsForSets holds that the end of a run lets go what waits for a
// change of the kernel's sets, and that it is not decided before the change.
func TestDrainWaitsForSets(t *testing.T) {
	b := newBench(t, ruleOf(model(t, "idle-expire", "after", "1s")))
	sets := &slowSets{ready: make(chan struct{})}
	b.worker.bySet, b.worker.sets = true, sets
	b.handle(&nfqueue.Packet{ID: 1, Hook: forward, Bytes: segment(faults.Original, packet.SYN, 0, 0, "")})
	if len(b.q.verdicts) != 0 {
		t.Fatal("the verdict did not wait for the sets")
	}
	time.AfterFunc(20*time.Millisecond, func() { close(sets.ready) })
	if err := b.emptyQueue(); err != nil {
		t.Fatal(err)
	}
	if len(b.q.verdicts) != 1 || b.q.verdicts[0].Drop {
		t.Errorf("verdicts at the end: %v, want one that accepts", b.q.verdicts)
	}
}

// TestNoAllocs holds that judging the packets of a known flow allocates
// nothing, whatever fault watches.
func TestNoAllocs(t *testing.T) {
	for _, m := range []NamedModel{
		model(t, "syn-drop"), model(t, "idle-expire", "after", "1h"), model(t, "reset", "at", "bytes=1000000"),
		model(t, "half-open", "at", "now", "peer", "crashed"), model(t, "reset", "at", "now"),
	} {
		t.Run(m.Name, func(t *testing.T) {
			b := newBench(t, ruleOf(m))
			quiet := &silentQueue{}
			b.queue, b.sender = quiet, quiet
			there, back := segment(faults.Original, packet.ACK, 1, 1, "ping"), segment(faults.Reply, packet.ACK, 1, 5, "pong")
			p := nfqueue.Packet{ID: 1, Hook: forward}
			judge := func() {
				p.Bytes = there
				b.handle(&p)
				p.Bytes = back
				b.handle(&p)
			}
			judge()
			if n := testing.AllocsPerRun(1000, judge); n != 0 {
				t.Errorf("%v allocations for two packets, want none", n)
			}
		})
	}
}

// silentQueue records nothing.
type silentQueue struct{}

func (*silentQueue) Receive([]nfqueue.Packet, time.Duration) (int, bool, error) { return 0, false, nil }
func (*silentQueue) Verdict(nfqueue.Verdict)                                    {}
func (*silentQueue) Flush() error                                               { return nil }
func (*silentQueue) Wake()                                                      {}
func (*silentQueue) Close() error                                               { return nil }
func (*silentQueue) Send([]rawsock.Packet) (int, error)                         { return 0, nil }

func BenchmarkJudge(b *testing.B) {
	w := newBench(b, ruleOf(model(b, "reset", "at", "bytes=1000000000000")))
	quiet := &silentQueue{}
	w.queue, w.sender = quiet, quiet
	p := nfqueue.Packet{ID: 1, Hook: forward, Bytes: segment(faults.Original, packet.ACK, 1, 1, "ping")}
	b.ReportAllocs()
	for b.Loop() {
		w.handle(&p)
	}
}
