package injector

import (
	"slices"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/rawsock"
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

func (w *wire) Send(pkts []rawsock.Packet) (int, error) {
	for _, p := range pkts {
		seg, err := packet.Parse(p.Bytes)
		if err != nil {
			return 1, err
		}
		w.left = append(w.left, seg.Flags().String()+" "+string(seg.Payload()))
	}
	return 0, nil
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
		{"answer and RST", []NamedModel{model(t, "unread-close")},
			[]string{"let go", "R ", "let go", "R. "}},
		{"delayed answer and RST", []NamedModel{model(t, "delay", "by", "20ms", "dir", "server"), model(t, "unread-close")},
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
