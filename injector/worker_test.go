package injector

import (
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"strings"
	"sync/atomic"
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

func (q *fakeQueue) Receive([]nfqueue.Packet, time.Duration) (nfqueue.Received, error) {
	return nfqueue.Received{}, nil
}
func (q *fakeQueue) Verdict(v nfqueue.Verdict) {
	c := v
	if v.Bytes != nil {
		c.Bytes = append([]byte(nil), v.Bytes...)
	}
	q.verdicts = append(q.verdicts, c)
}
func (q *fakeQueue) Flush() error { return nil }
func (q *fakeQueue) Wake()        {}
func (q *fakeQueue) Mark(uint32)  {}
func (q *fakeQueue) Limit(int)    {}
func (q *fakeQueue) Close() error { return nil }

// fakeSender records what is sent.
type fakeSender struct {
	pkts  [][]byte
	marks []uint32
	fail  error // of all that is sent
}

func (s *fakeSender) Send(pkts []rawsock.Packet) int {
	for i := range pkts {
		pkts[i].Err = s.fail
	}
	if s.fail != nil {
		return len(pkts)
	}
	for _, p := range pkts {
		s.pkts, s.marks = append(s.pkts, append([]byte(nil), p.Bytes...)), append(s.marks, p.Mark)
	}
	return 0
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
	ip   uint16 // identification of the next GSO packet

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
	return b.judgePacket(t, nfqueue.Packet{Hook: hook, Bytes: pkt})
}

// judgePacket does so with a packet whose checksum, for instance, is not verified.
func (b *bench) judgePacket(t testing.TB, p nfqueue.Packet) nfqueue.Verdict {
	t.Helper()
	b.id++
	before := len(b.q.verdicts)
	p.ID, p.Mark, p.Priority = b.id, 7, 5
	b.handle(&p)
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

// TestDrainLosesNothing checks that the end of a run lets go what is held.
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

// TestDrainWaitsForSets checks that the end of a run lets go what waits for a
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

// silentQueue records nothing.
type silentQueue struct{}

func (*silentQueue) Receive([]nfqueue.Packet, time.Duration) (nfqueue.Received, error) {
	return nfqueue.Received{}, nil
}
func (*silentQueue) Verdict(nfqueue.Verdict)   {}
func (*silentQueue) Flush() error              { return nil }
func (*silentQueue) Wake()                     {}
func (*silentQueue) Mark(uint32)               {}
func (*silentQueue) Limit(int)                 {}
func (*silentQueue) Close() error              { return nil }
func (*silentQueue) Send([]rawsock.Packet) int { return 0 }

// TestTakenInLater checks that a connection which a rule takes in while the run
// goes on does not count as silent since the run began: the kernel let it pass.
func TestTakenInLater(t *testing.T) {
	for name, m := range map[string]NamedModel{
		"the fault":   model(t, "idle-expire", "after", "1m"),
		"the trigger": model(t, "reset", "at", "idle=1m"),
	} {
		for silent, idle := range map[time.Duration]bool{time.Second: false, 2 * time.Minute: true} {
			rule := ruleOf(m)
			rule.Pick.Share = target.ShareOf(0)
			b := newBench(t, rule)
			b.judge(t, forward, segment(faults.Original, packet.ACK, 100, 1, "x"))
			b.now = time.Hour
			b.rules[0].share.Store(math.Float64bits(1))
			b.changes.Add(1)
			if got := b.since(b.now); got != b.now {
				t.Errorf("%s: while a change is under way flows are watched since %v, want now", name, got)
			}
			b.changes.Add(1)
			b.since(b.now) // as the worker does each time round
			b.now += silent
			v := b.judge(t, forward, segment(faults.Original, packet.ACK, 101, 1, "x"))
			if acted := len(b.s.pkts) > 0; acted != idle || !idle && v.Signal&uint32(ruleset.Admit) == 0 {
				t.Errorf("%s: %v after it was taken in, a segment gets %+v, a reset sent: %v, want %v", name, silent, v, acted, idle)
			}
		}
	}
}

// TestBusyBeside checks that a flow which only the kernel has seen lately does not
// count as idle when another fault has a segment of it handed over, and that the
// kernel is not asked about one of which user space has seen enough.
func TestBusyBeside(t *testing.T) {
	for name, m := range map[string]NamedModel{
		"the fault":   model(t, "idle-expire", "after", "1m"),
		"the trigger": model(t, "reset", "at", "idle=1m"),
	} {
		for quiet, idle := range map[time.Duration]bool{time.Second: false, time.Minute: true} {
			r := ruleOf(m)
			r.Faults = append(r.Faults, model(t, "observe"))
			b := newBench(t, r)
			b.judge(t, forward, segment(faults.Original, packet.SYN, 99, 0, ""))
			b.judge(t, forward, segment(faults.Reply, packet.SYN|packet.ACK, 99, 100, "")) // not admitted by it
			b.now = time.Hour
			b.sets.idleOf = map[int]time.Duration{0: quiet}
			b.judge(t, forward, segment(faults.Original, packet.FIN|packet.ACK, 100, 100, ""))
			if acted := len(b.s.pkts) > 0; acted != idle {
				t.Errorf("%s: an hour later, after the kernel has seen nothing for %v, a reset is sent: %v, want %v", name, quiet, acted, idle)
			}
			b.sets.idleOf[0] = 0 // as if it did not know
			b.now += time.Second
			b.judge(t, forward, segment(faults.Original, packet.FIN|packet.ACK, 100, 100, ""))
			if b.ev.Busy {
				t.Errorf("%s: the kernel is asked about a flow that user space saw a second ago", name)
			}
		}
	}
}

// TestBusyWhileParked is TestBusyBeside of a flow that was parked meanwhile.
func TestBusyWhileParked(t *testing.T) {
	b := newBench(t, ruleOf(model(t, "idle-expire", "after", "1m", "then", "rst-both")))
	b.judge(t, forward, segment(faults.Original, packet.SYN, 99, 0, ""))
	b.judge(t, forward, segment(faults.Reply, packet.SYN|packet.ACK, 99, 100, ""))
	b.settleAll()
	if b.parked.n != 1 {
		t.Fatalf("%d flows are parked", b.parked.n)
	}
	b.now += 2 * time.Minute
	b.sets.idleOf = map[int]time.Duration{0: time.Second}
	if v := b.judge(t, forward, segment(faults.Original, packet.FIN|packet.ACK, 100, 100, "")); v.Drop || len(b.s.pkts) > 0 {
		t.Errorf("the kernel has seen it a second ago, and its FIN gets %+v, %d segments are sent", v, len(b.s.pkts))
	}
}

// TestReleasedAgain checks that the kernel is told once more to let a flow pass
// when it has forgotten, and not for each packet that was under way.
func TestReleasedAgain(t *testing.T) {
	none := ruleOf(model(t, "reset"))
	none.Pick.Skip = 1000
	for name, b := range map[string]*bench{
		"not chosen": newBench(t, none),
		"over":       newBench(t, ruleOf(model(t, "partition", "at", "now", "for", "1s"))),
	} {
		seq := packet.Seq(100)
		released := func() bool {
			seq++
			return b.judge(t, forward, segment(faults.Original, packet.ACK, seq, 1, "x")).Signal&uint32(ruleset.Release) != 0
		}
		released()
		b.now += 2 * time.Second
		released()
		for _, pause := range []time.Duration{ruleset.ReleasedFor, 3 * ruleset.ReleasedFor} {
			b.settleAll()
			b.now += pause
			if !released() {
				t.Errorf("%s: handed over after %v, the flow is not released again", name, pause)
			}
			if released() {
				t.Errorf("%s: what was under way is answered by another release", name)
			}
		}
	}
}

// TestFiredOrdinal checks that an event has the connection's ordinal within the
// rule whose fault it tells of.
func TestFiredOrdinal(t *testing.T) {
	b := newBench(t, ruleOf(model(t, "observe")), Rule{Faults: []NamedModel{model(t, "reset", "at", "syn")}})
	var lost atomic.Uint64
	b.report = newReporter(make(chan struct{}, 1), &lost)
	other := packet.Fields{Src: client, Dst: netip.AddrPortFrom(server.Addr(), 80), TTL: 64, Flags: packet.SYN}
	b.judge(t, forward, other.Append(nil, nil))
	b.judge(t, forward, segment(faults.Original, packet.SYN, 100, 0, ""))
	var got []string
	deliverAll([]ring[Event]{b.report}, func(ev Event) {
		if ev.Kind == Fired {
			got = append(got, fmt.Sprintf("rule %d, connection %d", ev.Rule, ev.Ordinal))
		}
	})
	if want := "rule 1, connection 0; rule 1, connection 1"; strings.Join(got, "; ") != want {
		t.Errorf("told of %v, want %s", got, want)
	}
}
