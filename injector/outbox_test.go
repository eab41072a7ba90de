package injector

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
	"golang.org/x/sys/unix"
)

// TestHeldAllocatesNothing checks that what waits, be it held, copied or forged,
// allocates nothing once as many have waited before.
func TestHeldAllocatesNothing(t *testing.T) {
	for name, hook := range map[string]uint8{"forward": forward, "output": localOut} {
		for _, m := range []NamedModel{
			model(t, "delay", "by", "10ms", "jitter", "5ms"), model(t, "throttle", "rate", "100mbit"),
			model(t, "slice", "size", "2", "gap", "1ms"), model(t, "reorder", "chance", "50%"), model(t, "duplicate", "chance", "50%"),
		} {
			b := newBench(t, ruleOf(m))
			quiet := &silentQueue{}
			b.queue, b.sender = quiet, quiet
			there, back := segment(faults.Original, packet.ACK, 1, 1, "ping"), segment(faults.Reply, packet.ACK, 1, 5, "pong")
			p := nfqueue.Packet{ID: 1, Hook: hook}
			judge := func() {
				for range 20 {
					p.Bytes = there
					b.handle(&p)
					p.Bytes = back
					b.handle(&p)
					b.now += 100 * time.Microsecond
				}
				b.now += time.Second
				b.runDue(b.now)
			}
			judge()
			judge()
			if n := testing.AllocsPerRun(100, judge); n != 0 {
				t.Errorf("%s in %s: %v allocations for 40 packets, want none", m.Name, name, n)
			}
		}
	}
}

// TestHeldSYNACK checks that a SYN-ACK which waits on its way in does not wait in
// the queue: the kernel has bound it to a socket that may be gone by then. In
// forward it has not, and there the packet itself goes on.
func TestHeldSYNACK(t *testing.T) {
	for hook, again := range map[uint8]bool{localIn: true, forward: false, localOut: true} {
		b := newBench(t, ruleOf(model(t, "connect-stall", "for", "50ms")))
		b.now = time.Second
		b.handle(&nfqueue.Packet{ID: 1, Hook: hook, Bytes: segment(faults.Original, packet.SYN, 0, 0, "")})
		b.handle(&nfqueue.Packet{ID: 2, Hook: hook, Bytes: segment(faults.Reply, packet.SYN|packet.ACK, 0, 1, "")})
		dropped := slices.ContainsFunc(b.q.verdicts, func(v nfqueue.Verdict) bool { return v.ID == 2 && v.Drop })
		if dropped != again || len(b.s.pkts) != 0 {
			t.Errorf("hook %d: dropped at once: %v, want %v; %d sent", hook, dropped, again, len(b.s.pkts))
		}
		b.runDue(b.now + 50*time.Millisecond)
		goesOn := slices.ContainsFunc(b.q.verdicts, func(v nfqueue.Verdict) bool { return v.ID == 2 && !v.Drop })
		if goesOn == again || (len(b.s.pkts) == 1) != again {
			t.Errorf("hook %d: let go: %v, %d sent again", hook, goesOn, len(b.s.pkts))
		}
	}
}

// TestHeldSYN checks that a SYN on its way in waits in the queue: it is bound to no
// socket, and sent again it would come in by loopback, where a listener that is
// bound to a device does not get it.
func TestHeldSYN(t *testing.T) {
	b := newBench(t, ruleOf(model(t, "delay", "by", "50ms")))
	b.handle(&nfqueue.Packet{ID: 1, Hook: localIn, Bytes: segment(faults.Original, packet.SYN, 0, 0, "")})
	if len(b.q.verdicts) != 0 {
		t.Errorf("verdict %+v at once, want the SYN to be held", b.q.verdicts)
	}
	b.runDue(50 * time.Millisecond)
	if len(b.q.verdicts) != 1 || b.q.verdicts[0].Drop || len(b.s.pkts) != 0 {
		t.Errorf("verdicts %+v, %d packets sent; want the SYN to go on", b.q.verdicts, len(b.s.pkts))
	}
}

// TestUnsentIsCounted checks that what the kernel does not take is counted, and only
// the first of it logged.
func TestUnsentIsCounted(t *testing.T) {
	b := newBench(t, ruleOf(model(t, "duplicate", "chance", "100%")))
	var log strings.Builder
	b.log, b.s.fail = slog.New(slog.NewTextHandler(&log, nil)), unix.ENETUNREACH
	for i := range packet.Seq(3) {
		b.judge(t, forward, segment(faults.Original, packet.ACK, 100+i, 1, "x"))
	}
	if got := b.snapshot().Unsent; got != 3 || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("%d packets counted as unsent, want 3; logged:\n%s", got, &log)
	}
}

// TestHeld checks that a packet is held in the queue where that is harmless and
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

// newOutbox is an outbox without a worker, of which answer tells the verdicts.
func newOutbox(q queue, s sender) (*outbox, *[]nfqueue.Verdict) {
	o, given := &outbox{run: newShared(nil, 0, slog.New(slog.DiscardHandler)), queue: q, sender: s}, &[]nfqueue.Verdict{}
	o.answer = func(v nfqueue.Verdict, _ *entry, _ faults.Direction) { *given = append(*given, v) }
	o.renamed = func(*entry, []byte) {}
	return o, given
}

// TestOutboxDelay checks for how long a packet is kept back: as long as a fault wants, and
// never less than what is before it of its direction.
func TestOutboxDelay(t *testing.T) {
	const now = time.Second
	for name, c := range map[string]struct {
		hold     time.Duration
		due      time.Duration // when what is held before it leaves
		turns    int           // how many are held before it
		draining bool
		want     time.Duration
		held     bool
	}{
		"nothing":                        {},
		"a fault":                        {hold: 5, want: 5, held: true},
		"an older one":                   {due: now + 7, turns: 1, want: 7, held: true},
		"a fault, and a later older one": {hold: 5, due: now + 7, turns: 1, want: 7, held: true},
		"a fault, and one due before":    {hold: 5, due: now + 3, turns: 1, want: 5, held: true},
		"one that should have left":      {due: now - 1, turns: 1, want: 0, held: true},
		"at the end":                     {hold: 5, draining: true},
		"at the end, behind another":     {due: now + 7, turns: 1, draining: true, want: 7, held: true},
	} {
		o, _ := newOutbox(&fakeQueue{}, &fakeSender{})
		o.draining.begun = c.draining
		f := &entry{due: [2]time.Duration{c.due, now + time.Hour}, turns: [2]int{c.turns, 9}}
		var out faults.Effects
		out.Reset()
		if c.hold > 0 && !c.draining {
			out.Delay(c.hold)
		}
		if got, held := o.delay(f, faults.Original, &out, now); got != c.want || held != c.held {
			t.Errorf("%s: %v, %v; want %v, %v", name, got, held, c.want, c.held)
		}
	}
}

// TestOutboxRecycles checks that memory of a packet that has left serves the next one, that
// very large ones do not stay, and that not ever more of it is kept.
func TestOutboxRecycles(t *testing.T) {
	o, _ := newOutbox(&fakeQueue{}, &fakeSender{})
	first := o.copyOf([]byte("a packet"))
	o.recycle(first)
	second := o.copyOf([]byte("another"))
	if &first[0] != &second[0] || string(second) != "another" {
		t.Errorf("the copy is %q, in other memory: %v", second, &first[0] != &second[0])
	}
	o.recycle(make([]byte, 0, maxRecycledSize+1))
	o.recycle(nil)
	if len(o.recycled) != 0 {
		t.Error("what is too large, or nothing, is kept")
	}
	for range maxRecycled + 10 {
		o.recycle(make([]byte, 1))
	}
	if n := len(o.recycled); n != maxRecycled {
		t.Errorf("%d are kept, want %d", n, maxRecycled)
	}
}

// TestOutboxReleaseAll checks that nothing is left in it, that each packet has had its
// verdict or was sent, and that no verdict has a signal any more.
func TestOutboxReleaseAll(t *testing.T) {
	s := &fakeSender{}
	o, given := newOutbox(&fakeQueue{}, s)
	f := &entry{turns: [2]int{2, 1}}
	o.timers.add(timer{at: 3, kind: releasePacket, inOrder: true, flow: f, id: 1, signal: ruleset.Admit})
	o.timers.add(timer{at: 1, kind: sendPacket, inOrder: true, flow: f, pkt: []byte("x")})
	o.timers.add(timer{at: 2, kind: releasePacket, inOrder: true, flow: f, id: 2, reply: true})
	o.timers.add(timer{at: 0, kind: wakeFlow, flow: f})
	o.releaseAll()
	if o.timers.heap.Len() != 0 || o.timers.held != 0 || f.turns != [2]int{} {
		t.Errorf("%d are left, %d held, turns %v", o.timers.heap.Len(), o.timers.held, f.turns)
	}
	if len(s.pkts) != 1 || len(*given) != 2 || (*given)[0].ID != 2 || (*given)[1].ID != 1 || (*given)[1].Signal != 0 {
		t.Errorf("sent %d, verdicts %+v", len(s.pkts), *given)
	}
}
