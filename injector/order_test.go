package injector

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/rawsock"
)

// TestDelayKeepsOrder checks that of 20,000 segments that are held at once none
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

// TestOverdueKeepsOrder checks that what is held until a time that has passed, but
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

// TestForgedKeepsItsPlace checks that what is forged leaves behind what it
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

// TestSentInOneBatch checks that copies of what local senders sent leave by one
// system call, past what is let go of the other way, but neither they nor what was
// forged changes places with anything that must come before.
func TestSentInOneBatch(t *testing.T) {
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

// TestDrainKeepsOrder checks that what is let go at the end of a run leaves in its
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
