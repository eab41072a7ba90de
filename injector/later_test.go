package injector

import (
	"fmt"
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
)

// TestTakenInLater holds that a connection which a rule takes in while the run
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

// TestBusyBeside holds that a flow which only the kernel has seen lately does not
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

// TestReleasedAgain holds that the kernel is told once more to let a flow pass
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

// TestFlowsAreRemembered holds that a connection whose peer has died is still
// known when the first keepalive probe comes, two hours and a bit later.
func TestFlowsAreRemembered(t *testing.T) {
	b := newBench(t, ruleOf(model(t, "half-open", "at", "request", "peer", "crashed")))
	b.judge(t, forward, segment(faults.Original, packet.SYN, 99, 0, ""))
	b.judge(t, forward, segment(faults.Original, packet.ACK, 100, 1, "x"))
	b.now += 2*time.Hour + 2*time.Minute
	b.handle(&nfqueue.Packet{ID: 9, Hook: forward, Bytes: opened(nil, 7, false)}) // another one begins
	if v := b.judge(t, forward, segment(faults.Original, packet.ACK, 100, 1, "")); !v.Drop || v.Signal != 0 {
		t.Errorf("the keepalive probe to a dead peer gets %+v, want a drop", v)
	}
	if len(b.flows.flows) != 2 {
		t.Errorf("%d connections are known, want 2", len(b.flows.flows))
	}
}

// TestNoRoom holds what happens when there are more connections than are
// remembered: the quietest go, and it is counted, awake or asleep.
func TestNoRoom(t *testing.T) {
	for name, m := range map[string]NamedModel{"awake": model(t, "reset"), "asleep": model(t, "syn-drop")} {
		b := newBench(t, ruleOf(m))
		b.flows.capacity, b.parked.capacity = capacity{few: 10, most: 20}, capacity{few: 10, most: 20}
		known := func() int { return len(b.flows.flows) + b.parked.n }
		open := func(n int) {
			b.handle(&nfqueue.Packet{Hook: forward, Bytes: opened(nil, n, false)})
			b.settleAll()
		}
		for n := range 30 {
			open(n)
		}
		if got := b.totals.forgotten.Load(); known() != 20 || got != 10 {
			t.Errorf("%s: %d of 30 connections are known, %d counted as forgotten; want 20, 10", name, known(), got)
		}
		b.now += forgetAfter + time.Second
		open(30)
		if got := b.totals.forgotten.Load(); known() != 10 || got != 10 {
			t.Errorf("%s: two hours later %d are known, %d counted as forgotten; want 10, 10", name, known(), got)
		}
		b.now += rememberFor + time.Second
		if open(31); known() != 1 {
			t.Errorf("%s: five days later %d are known, want 1", name, known())
		}
	}
}

// TestRestIsNotLate holds that a worker without packets does not sleep while
// flows wait to be put away: until then nobody knows of their alarms.
func TestRestIsNotLate(t *testing.T) {
	b := newBench(t, ruleOf(model(t, "idle-expire", "after", "10s", "then", "rst-both")))
	for n := range 10 * parkBatch {
		b.handle(&nfqueue.Packet{Hook: forward, Bytes: opened(nil, n, false)})
	}
	if got := b.patience(); got != parkAfter {
		t.Errorf("it waits for %v, want %v", got, parkAfter)
	}
	b.now += parkAfter
	for range 10 {
		if got := b.patience(); got != 0 {
			t.Fatalf("it waits for %v while %d flows are due", got, b.idle.len())
		}
		b.parkIdle(b.now)
	}
	if got := b.patience(); b.parked.n != 10*parkBatch || got != idleWait {
		t.Errorf("%d flows sleep, it waits for %v", b.parked.n, got)
	}
}

// TestWatchdogEndsWithTheWork holds that the timer is gone when the workers are:
// whoever listens may take its time then.
func TestWatchdogEndsWithTheWork(t *testing.T) {
	d, err := watchdog.New(time.Hour, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Stop()
	c := &workers{dog: d}
	if err := c.stop(); err != nil {
		t.Fatal(err)
	}
	if left, err := d.Left(); err == nil {
		t.Errorf("the timer has %v left", left)
	}
}

// TestFiredOrdinal holds that an event has the connection's ordinal within the
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

// leaving is a queue and a sender that write down what leaves, in its order. A
// verdict leaves with flush.
type leaving struct {
	fakeQueue
	kept, left []string
}

func (q *leaving) Verdict(v nfqueue.Verdict) { q.kept = append(q.kept, fmt.Sprint("packet ", v.ID)) }
func (q *leaving) Flush() error {
	q.left, q.kept = append(q.left, q.kept...), nil
	return nil
}
func (q *leaving) Send(pkts []rawsock.Packet) (int, error) {
	var as []string
	for _, p := range pkts {
		as = append(as, "copy"+string(p.Bytes))
	}
	q.left = append(q.left, strings.Join(as, " + "))
	return 0, nil
}

// TestDepartsTogether holds that copies of what local senders sent leave by one
// system call, past what is let go of the other way, but neither they nor what was
// forged changes places with anything that must come before.
func TestDepartsTogether(t *testing.T) {
	b := newBench(t, ruleOf(model(t, "reset")))
	q := &leaving{}
	b.queue, b.sender = q, q
	for i, l := range []timer{
		{kind: sendPacket, hook: localOut}, {kind: releasePacket, hook: localIn}, {kind: sendPacket, hook: localOut},
		{kind: releasePacket, hook: localOut}, {kind: releasePacket, hook: localIn}, {kind: sendPacket, hook: localOut},
		{kind: releasePacket, hook: localIn}, {kind: sendPacket}, {kind: sendPacket, hook: localOut},
		{kind: releasePacket, hook: forward}, {kind: sendPacket, hook: localIn},
	} {
		l.id, l.pkt = nfqueue.ID(i), fmt.Append(nil, " ", i)
		if l.kind == releasePacket {
			l.pkt = nil
		}
		b.timers.add(l)
	}
	b.runDue(0)
	b.flush()
	want := "copy 0 + copy 2, packet 1, packet 3, packet 4, packet 6, copy 5, copy 7, packet 9, copy 8, copy 10"
	if got := strings.Join(q.left, ", "); got != want {
		t.Errorf("left: %s\nwant: %s", got, want)
	}
}

// TestDrainKeepsOrder holds that what is let go at the end of a run leaves in its
// order.
func TestDrainKeepsOrder(t *testing.T) {
	b := newBench(t, ruleOf(model(t, "reset")))
	q := &leaving{}
	b.queue, b.sender = q, q
	for id, kind := range []timerKind{releasePacket, sendPacket, releasePacket, releasePacket, sendPacket} {
		b.timers.add(timer{at: time.Duration(id), kind: kind, id: nfqueue.ID(id)})
	}
	if err := b.emptyQueue(); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(q.left, ", "), "packet 0, copy, packet 2, packet 3, copy"; got != want {
		t.Errorf("left: %s; want %s", got, want)
	}
}

// TestCutIsCounted holds that a segment which the queue hands over in part goes on
// as it is, and is counted, where a fault would have changed or copied it.
func TestCutIsCounted(t *testing.T) {
	for fault, c := range map[string]struct {
		knobs []string
		sent  int
	}{
		"corrupt": {knobs: []string{"chance", "100%"}}, "duplicate": {knobs: []string{"chance", "100%"}}, "slice": {knobs: []string{"size", "10"}},
		"stall": {[]string{"at", "now"}, 1}, // before it goes that there is no window
	} {
		b := newBench(t, ruleOf(model(t, fault, c.knobs...)))
		pkt := segment(faults.Original, packet.ACK, 100, 1, strings.Repeat("x", 1000))
		if v := b.judge(t, forward, pkt[:100]); v.Drop || v.Bytes != nil || len(b.s.pkts) != c.sent {
			t.Errorf("%s: a segment in part gets %+v, %d packets sent, want %d", fault, v, len(b.s.pkts), c.sent)
		}
		if got := b.totals.cut.Load(); got != 1 {
			t.Errorf("%s: %d packets counted as cut, want 1", fault, got)
		}
		if b.judge(t, forward, segment(faults.Original, packet.ACK, 1100, 1, "whole and long enough")); b.totals.cut.Load() != 1 {
			t.Errorf("%s: a whole one is counted", fault)
		}
	}
}

// TestLeastWatchdog holds that no limit is taken that an idle worker would miss.
func TestLeastWatchdog(t *testing.T) {
	for limit, ok := range map[time.Duration]bool{-1: true, 0: true, leastWatchdog: true, leastWatchdog - 1: false, 1: false} {
		cfg := Config{Watchdog: limit, Rules: []Rule{ruleOf(model(t, "reset"))}}
		if err := cfg.Validate(); (err == nil) != ok {
			t.Errorf("a limit of %v: %v", limit, err)
		}
	}
	if d := watchdog.Timeout(leastWatchdog); d < 3*idleWait {
		t.Errorf("the timeout of %v is hardly more than the %v of an idle worker", d, idleWait)
	}
}

// TestIdleOfItsRule holds that a fault which wakes is told how long its own rule
// has seen nothing of the flow, however many rules watch.
func TestIdleOfItsRule(t *testing.T) {
	both := func(after string) NamedModel { return model(t, "idle-expire", "after", after, "then", "rst-both") }
	b := newBench(t, ruleOf(both("10s")), Rule{Faults: []NamedModel{both("1m")}})
	b.sets.idleOf = map[int]time.Duration{0: 10 * time.Second, 1: time.Minute}
	syn := packet.Fields{Src: client, Dst: netip.AddrPortFrom(server.Addr(), 80), TTL: 64, Flags: packet.SYN}
	b.judge(t, forward, syn.Append(nil, nil)) // a connection of the second rule only
	b.settleAll()
	b.now = time.Minute
	b.wakeParked(b.now)
	if len(b.flows.flows) != 1 {
		t.Fatalf("%d flows are awake, want 1", len(b.flows.flows))
	}
	for _, e := range b.flows.flows {
		if got, want := e.chain.NextWake(), b.now+250*time.Millisecond; got != want {
			t.Errorf("it wakes next at %v, want %v: it has expired, and its ends are asked for their numbers", got, want)
		}
	}
}
