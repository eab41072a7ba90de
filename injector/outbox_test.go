package injector

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/rawsock"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
	"golang.org/x/sys/unix"
)

// TestDelayKeepsOrder holds that of 20,000 segments that are held at once none
// overtakes, however their delay jitters, unless that is asked for.
func TestDelayKeepsOrder(t *testing.T) {
	const n = 20_000
	for name, hook := range map[string]uint8{"input": localIn, "forward": forward, "output": localOut} {
		for _, reorder := range []string{"false", "true"} {
			b := newBench(t, ruleOf(model(t, "delay", "by", "50ms", "jitter", "10ms", "reorder", reorder)))
			for i := range n {
				b.now = time.Second + time.Duration(i)*time.Microsecond
				b.id++
				b.handle(&nfqueue.Packet{ID: b.id, Hook: hook, Bytes: segment(faults.Original, packet.ACK, packet.Seq(i), 1, "x")})
			}
			if hook == localOut { // the copies remain
				b.q.verdicts = nil
			}
			if len(b.s.pkts)+len(b.q.verdicts) != 0 {
				t.Fatalf("%s: %d are gone already", name, len(b.s.pkts)+len(b.q.verdicts))
			}
			for at := b.now; at < b.now+100*time.Millisecond; at += time.Millisecond {
				b.runDue(at)
			}
			var order []uint32
			for _, v := range b.q.verdicts {
				order = append(order, v.ID.Number())
			}
			for _, p := range b.s.pkts {
				seg, err := packet.Parse(p)
				if err != nil {
					t.Fatal(err)
				}
				order = append(order, uint32(seg.Seq())+1)
			}
			overtaken := 0
			for i := 1; i < len(order); i++ {
				if order[i] < order[i-1] {
					overtaken++
				}
			}
			if len(order) != n || (overtaken > 0) != (reorder == "true") {
				t.Errorf("%s, reorder %s: %d of %d left, %d times one was overtaken", name, reorder, len(order), n, overtaken)
			}
		}
	}
}

// TestOverdueKeepsOrder holds that what is held until a time that has passed, but
// has yet to leave, is not overtaken by what comes meanwhile and is not held, nor by
// what is forged behind that.
func TestOverdueKeepsOrder(t *testing.T) {
	for name, hook := range map[string]uint8{"forward": forward, "output": localOut} {
		m := &eachModel{}
		m.do[3] = func(_ *faults.Event, out *faults.Effects) faults.Verdict { // 3001
			out.Delay(time.Millisecond)
			return faults.Pass
		}
		m.do[1] = func(ev *faults.Event, out *faults.Effects) faults.Verdict { // 5001
			f := packet.FieldsOf(ev.Seg)
			f.Flags = packet.RST
			out.Forge(f, nil)
			return faults.Pass
		}
		b := newBench(t, ruleOf(NamedModel{"each", m}))
		w := &wire{}
		b.queue, b.sender = w, w
		for i, seq := range []packet.Seq{3001, 4001, 5001} {
			b.handle(&nfqueue.Packet{ID: nfqueue.ID(i + 1), Hook: hook, Bytes: segment(faults.Original, packet.ACK, seq, 1, "x")})
			b.flush()
			b.now = 5 * time.Millisecond // and runTimers did not get there
		}
		if len(w.left) != 0 {
			t.Errorf("%s: %q left before what is held", name, w.left)
		}
		w.left = nil
		b.runDue(b.now)
		b.flush()
		want := []string{"let go", "let go", "R ", "let go"}
		if hook == localOut {
			want = []string{". x", ". x", "R ", ". x"}
		}
		if !slices.Equal(w.left, want) {
			t.Errorf("%s: %q left, want %q", name, w.left, want)
		}
		b.handle(&nfqueue.Packet{ID: 9, Hook: hook, Bytes: segment(faults.Original, packet.ACK, 6001, 1, "x")})
		if b.flush(); len(w.left) != len(want)+1 {
			t.Errorf("%s: it is held although nothing is due before it", name)
		}
	}
}

// wire is a queue and a sender that record what leaves, in its order. Verdicts
// leave with the flush.
type wire struct {
	fakeQueue
	kept, left []string
}

func (w *wire) Verdict(v nfqueue.Verdict) {
	if !v.Drop {
		w.kept = append(w.kept, "let go")
	}
}

func (w *wire) Flush() error {
	w.left = append(w.left, w.kept...)
	w.kept = nil
	return nil
}

func (w *wire) Send(pkts []rawsock.Packet) (unsent int) {
	for i := range pkts {
		var seg packet.Segment
		if seg, pkts[i].Err = packet.Parse(pkts[i].Bytes); pkts[i].Err != nil {
			unsent++
			continue
		}
		w.left = append(w.left, seg.Flags().String()+" "+string(seg.Payload()))
	}
	return unsent
}

func (w *wire) Close() error { return nil }

// TestForgedKeepsItsPlace holds that what is forged leaves behind what it
// follows, be that held or only kept back until the next system call, and that
// pieces are delayed like the segment that they stand for.
func TestForgedKeepsItsPlace(t *testing.T) {
	for _, c := range []struct {
		name  string
		chain []NamedModel
		want  []string
	}{
		{"answer and RST", []NamedModel{model(t, "unread-close", "pass", "5")},
			[]string{"let go", "R ", "let go", "R. "}},
		{"delayed answer and RST", []NamedModel{model(t, "delay", "by", "20ms", "dir", "server"), model(t, "unread-close", "pass", "5")},
			[]string{"let go", "R ", "20ms", "let go", "R. "}},
		{"pieces of a delayed answer", []NamedModel{model(t, "delay", "by", "20ms", "dir", "server"), model(t, "slice", "size", "2")},
			[]string{". as", "P. k", "20ms", ". he", ". ll", "P. o"}},
	} {
		r := ruleOf(c.chain[0])
		r.Faults = c.chain
		b := newBench(t, r)
		w := &wire{}
		b.queue, b.sender = w, w
		b.now = time.Second
		b.handle(&nfqueue.Packet{ID: 1, Hook: forward, Bytes: segment(faults.Original, packet.PSH|packet.ACK, 1, 1, "ask")})
		b.handle(&nfqueue.Packet{ID: 2, Hook: forward, Bytes: segment(faults.Reply, packet.PSH|packet.ACK, 1, 4, "hello")})
		b.flush()
		b.runDue(b.now + time.Millisecond)
		if now := len(w.left); now < len(c.want) {
			w.left = append(w.left, "20ms")
		}
		b.runDue(b.now + 21*time.Millisecond)
		b.flush()
		if !slices.Equal(w.left, c.want) {
			t.Errorf("%s: %q, want %q", c.name, w.left, c.want)
		}
	}
}

// TestLaterAllocatesNothing holds that what waits, be it held, copied or forged,
// allocates nothing once as many have waited before.
func TestLaterAllocatesNothing(t *testing.T) {
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

// TestHeldSYNACK holds that a SYN-ACK which waits on its way in does not wait in
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

// TestHeldSYN holds that a SYN on its way in waits in the queue: it is bound to no
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

func (q *leaving) Send(pkts []rawsock.Packet) int {
	var as []string
	for _, p := range pkts {
		as = append(as, "copy"+string(p.Bytes))
	}
	q.left = append(q.left, strings.Join(as, " + "))
	return 0
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

// TestUnsentIsCounted holds that what the kernel does not take is counted, and only
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

// newOutbox is an outbox without a worker, of which answer tells the verdicts.
func newOutbox(q queue, s sender) (*outbox, *[]nfqueue.Verdict) {
	o, given := &outbox{run: newShared(nil, 0, slog.New(slog.DiscardHandler)), queue: q, sender: s}, &[]nfqueue.Verdict{}
	o.answer = func(v nfqueue.Verdict, _ *entry, _ faults.Direction) { *given = append(*given, v) }
	o.renamed = func(*entry, []byte) {}
	return o, given
}

// TestOutboxDelay holds for how long a packet is kept back: as long as a fault wants, and
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

// TestOutboxRecycles holds that memory of a packet that has left serves the next one, that
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

// TestOutboxReleaseAll holds that nothing is left in it, that each packet has had its
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
