package injector

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
)

// gsoPacket hands the worker a GSO packet with that many bytes of payload.
func (b *bench) gsoPacket(seq packet.Seq, flags packet.Flags, size int) packet.Segment {
	b.id++
	f := packet.Fields{Src: client, Dst: server, TTL: 64, DF: !b.unnumbered, ID: b.ip, Seq: seq, Ack: 1, Flags: flags, Window: 1000}
	pkt := f.Append(nil, bytes.Repeat([]byte("0123456789"), size/10+1)[:size])
	b.ip += uint16(max(1, (size+999)/1000))
	b.handle(&nfqueue.Packet{ID: b.id | nfqueue.GSOQueue, Hook: localOut, Bytes: pkt, Mark: 7, GSO: size > 1000, Partial: true})
	b.received(1)
	s, err := packet.Parse(pkt)
	if err != nil {
		panic(err)
	}
	return s
}

// pieces hands it the same, as the kernel cuts it up into segments of 1000 bytes.
func (b *bench) pieces(s packet.Segment) {
	for at := 0; at < max(1, s.PayloadLen()); at += 1000 {
		b.id++
		b.totals.diverted.Add(1)
		b.handle(&nfqueue.Packet{ID: b.id, Hook: localOut, Bytes: s.AppendPart(nil, at, 1000), Mark: 7})
	}
}

// matched is how many packets the rules have counted, as the worker knows it.
func (b *bench) matched() int64 { return int64(b.totals.diverted.Load()) - b.totals.segments.Load() }

// next is another batch. more says that the queue was not empty after it.
func (b *bench) next(more bool) {
	if !more {
		b.emptied = b.batch
	}
	b.batch++
}

// again counts the packets that were handed back since it was asked last, and the
// other verdicts.
func (b *bench) again() (again, other int) {
	for _, v := range b.q.verdicts {
		if v.Again {
			again++
		} else {
			other++
		}
	}
	b.q.verdicts = nil
	return again, other
}

// known makes a worker that knows how long the segments of its flow are: 1000 bytes.
func known(t testing.TB, m NamedModel) *bench {
	t.Helper()
	b := newBench(t, ruleOf(m))
	b.gsoQueue = true
	b.next(false)
	s := b.gsoPacket(1, packet.ACK, 3000)
	b.next(false)
	b.pieces(s)
	b.next(false)
	b.q.verdicts, b.s.pkts = nil, nil
	return b
}

// TestGSOSegments checks that a packet which stands for several segments is cut into
// what the kernel would make of it, each judged by itself, and dropped itself.
func TestGSOSegments(t *testing.T) {
	b := known(t, NamedModel{"delay", delayModel{50 * time.Millisecond}})
	b.runDue(time.Minute)
	b.s.pkts = nil
	diverted := b.totals.diverted.Load()
	s := b.gsoPacket(3001, packet.ACK|packet.PSH, 2500)
	if len(b.q.verdicts) != 1 || !b.q.verdicts[0].Drop || b.q.verdicts[0].ID != b.id|nfqueue.GSOQueue || len(b.s.pkts) != 0 {
		t.Fatalf("verdicts %+v, and %d packets sent: want a drop, and nothing before its time", b.q.verdicts, len(b.s.pkts))
	}
	if n := b.totals.diverted.Load() - diverted; n != 3 || b.matched() != 2 {
		t.Errorf("%d more segments counted, and %d packets in all; want 3 and 2", n, b.matched())
	}
	b.runDue(50 * time.Millisecond)
	if len(b.s.pkts) != 3 {
		t.Fatalf("%d packets sent, want 3", len(b.s.pkts))
	}
	for i, got := range b.s.pkts {
		if want := s.AppendPart(nil, 1000*i, 1000); !bytes.Equal(got, want) || b.s.marks[i] != 7 {
			t.Errorf("sent %x, want %x", got, want)
		}
	}
}

// batches is a queue in which more has yet to be received.
type batches struct {
	fakeQueue
	of [][]nfqueue.Packet
}

func (q *batches) Receive(pkts []nfqueue.Packet, _ time.Duration) (r nfqueue.Received, err error) {
	if len(q.of) > 0 {
		r.N = copy(pkts, q.of[0])
		q.of = q.of[1:]
	}
	return r, nil
}

// TestGSOAtStop checks that a run's end lets go what is in the queue in its order,
// although some of it was handed back just before, and counts it right.
func TestGSOAtStop(t *testing.T) {
	b := newBench(t, ruleOf(NamedModel{"delay", delayModel{0}}))
	b.gsoQueue = true
	b.next(false)
	b.gsoPacket(1, packet.ACK, 3000)
	super := func(id nfqueue.ID) nfqueue.Packet {
		return nfqueue.Packet{ID: id | nfqueue.GSOQueue, Hook: localOut, GSO: true}
	}
	piece := func(id nfqueue.ID) nfqueue.Packet { return nfqueue.Packet{ID: id, Hook: localOut} }
	q := &batches{of: [][]nfqueue.Packet{
		{super(2), piece(11), piece(12), piece(13)}, // of the first
		{piece(21), super(3)},
		{piece(22), piece(31)},
		{super(4)},
	}}
	b.queue = q
	if err := b.emptyQueue(); err != nil {
		t.Fatal(err)
	}
	var again, gone []uint32
	for _, v := range q.verdicts {
		if v.Again {
			again = append(again, v.ID.Number())
		} else {
			gone = append(gone, v.ID.Number())
		}
	}
	if !slices.Equal(again, []uint32{2, 3}) || !slices.Equal(gone, []uint32{11, 12, 13, 21, 22, 31, 4}) {
		t.Errorf("%d were handed back, %d went on", again, gone)
	}
	if n := b.totals.diverted.Load(); n != 7 || b.matched() != 4 {
		t.Errorf("%d segments counted, and %d packets; want 7 and 4", n, b.matched())
	}
}

// eachModel does something else to each segment: by the thousand of its number.
type eachModel struct {
	do [4]func(ev *faults.Event, out *faults.Effects) faults.Verdict
}

func (m *eachModel) Validate() error           { return nil }
func (m *eachModel) Diverts() faults.Diversion { return faults.Diversion{All: true} }
func (m *eachModel) Start() faults.Instance    { return faults.PerFlow(func() faults.Fault { return m }) }
func (m *eachModel) OnSegment(ev *faults.Event, out *faults.Effects) faults.Verdict {
	if do := m.do[(ev.Seg.Seq()-1)/1000%4]; do != nil && ev.Seg.Seq() > 3000 {
		return do(ev, out)
	}
	return faults.Pass
}

// TestGSOVerdictsDiffer checks that the segments of one packet may share in different
// fates: what goes on at once leaves in its order among what is forged, and the
// packet's one verdict tells the sets what the last word on each is.
func TestGSOVerdictsDiffer(t *testing.T) {
	m := &eachModel{}
	b := known(t, NamedModel{"each", m})
	m.do[3] = func(ev *faults.Event, out *faults.Effects) faults.Verdict { // the first: 3001
		out.Capture()
		return faults.Drop
	}
	m.do[0] = func(ev *faults.Event, out *faults.Effects) faults.Verdict {
		f := packet.FieldsOf(ev.Seg)
		f.Flags = packet.RST
		out.Forge(f, nil)
		return faults.Pass
	}
	m.do[1] = func(ev *faults.Event, out *faults.Effects) faults.Verdict {
		s := out.Copy(ev.Seg)
		s.SetWindow(1)
		s.UpdateChecksums()
		out.Replace(s)
		return faults.Pass
	}
	m.do[2] = func(ev *faults.Event, out *faults.Effects) faults.Verdict {
		out.Release()
		return faults.Pass
	}
	s := b.gsoPacket(3001, packet.ACK, 4000)
	if len(b.q.verdicts) != 1 || b.q.verdicts[0].Drop || b.q.verdicts[0].Signal != uint32(ruleset.Forget|ruleset.Release|ruleset.Drop) {
		t.Errorf("verdicts %+v, want one: a drop that releases", b.q.verdicts)
	}
	var got []string
	for _, p := range b.s.pkts {
		seg, err := packet.Parse(p)
		if err != nil {
			t.Fatal(err)
		}
		what := seg.Flags().String()
		if seg.Window() == 1 {
			what += " changed"
		}
		if !seg.ChecksumOK() {
			what += " wrong"
		}
		got = append(got, what+" "+string(rune('0'+uint32(seg.Seq()-s.Seq())/1000)))
	}
	if want := []string{"R 1", ". 1", ". changed 2", ". 3"}; !slices.Equal(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}
}

// TestGSOPassesWhole checks that a packet whose segments all simply go on goes on as it
// is: its sender's TCP then knows that it is still in the host, and what the sets are
// to learn they do. If one of them does not, those before it leave before anything
// that follows.
func TestGSOPassesWhole(t *testing.T) {
	drop := func(*faults.Event, *faults.Effects) faults.Verdict { return faults.Drop }
	capture := func(_ *faults.Event, out *faults.Effects) faults.Verdict {
		out.Capture()
		return faults.Pass
	}
	forge := func(ev *faults.Event, out *faults.Effects) faults.Verdict {
		f := packet.FieldsOf(ev.Seg)
		f.Flags = packet.RST
		out.Forge(f, nil)
		return faults.Pass
	}
	delay := func(_ *faults.Event, out *faults.Effects) faults.Verdict {
		out.Delay(time.Millisecond)
		return faults.Pass
	}
	for _, c := range []struct {
		name  string
		third func(*faults.Event, *faults.Effects) faults.Verdict
		want  nfqueue.Verdict
		sent  []string // flags, and the thousand that a segment begins with
	}{
		{"all go on", nil, nfqueue.Verdict{}, nil},
		{"the sets are told", capture, nfqueue.Verdict{Signal: uint32(ruleset.Capture)}, nil},
		{"one is lost", drop, nfqueue.Verdict{Drop: true}, []string{". 0", ". 1", ". 3"}},
		{"something is forged", forge, nfqueue.Verdict{Drop: true}, []string{". 0", ". 1", "R 2", ". 2", ". 3"}},
		{"one is held, and so those behind it", delay, nfqueue.Verdict{Drop: true}, []string{". 0", ". 1", "1ms", ". 2", ". 3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &eachModel{}
			b := known(t, NamedModel{"each", m})
			m.do[1] = c.third // 3001 begins the fourth thousand
			s := b.gsoPacket(3001, packet.ACK, 4000)
			c.want.ID = b.id | nfqueue.GSOQueue
			if len(b.q.verdicts) != 1 || !reflect.DeepEqual(b.q.verdicts[0], c.want) {
				t.Errorf("verdicts %+v, want %+v", b.q.verdicts, c.want)
			}
			var got []string
			add := func() {
				for _, p := range b.s.pkts {
					seg, err := packet.Parse(p)
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, fmt.Sprint(seg.Flags(), " ", uint32(seg.Seq()-s.Seq())/1000))
				}
				b.s.pkts = nil
			}
			add()
			if b.runDue(0); len(got) < len(c.sent) {
				got = append(got, "1ms")
			}
			b.runDue(time.Millisecond)
			add()
			if !slices.Equal(got, c.sent) {
				t.Errorf("sent %q, want %q", got, c.sent)
			}
		})
	}
}

// TestGSOOfUnchosenFlow checks that a flow that no rule chose goes on as it is.
func TestGSOOfUnchosenFlow(t *testing.T) {
	r := ruleOf(NamedModel{"delay", delayModel{0}})
	r.Pick.Skip = 1
	b := newBench(t, r)
	b.next(false)
	b.gsoPacket(1, packet.ACK, 3000)
	if len(b.q.verdicts) != 1 || b.q.verdicts[0].Drop || b.q.verdicts[0].Again || b.q.verdicts[0].Signal&uint32(ruleset.Release) == 0 {
		t.Errorf("verdicts %+v, want one that lets it go and releases the flow", b.q.verdicts)
	}
}

// TestGSOAllocatesNothing checks that cutting up allocates nothing.
func TestGSOAllocatesNothing(t *testing.T) {
	b := known(t, NamedModel{"delay", delayModel{time.Millisecond}})
	quiet := &silentQueue{}
	b.queue, b.sender = quiet, quiet
	pkt := segment(faults.Original, packet.ACK, 3001, 1, string(make([]byte, 40_000)))
	s, err := packet.Parse(pkt)
	if err != nil {
		t.Fatal(err)
	}
	p := nfqueue.Packet{ID: nfqueue.GSOQueue, Hook: localOut, Bytes: pkt, GSO: true}
	judge := func() {
		b.now += 10 * time.Microsecond
		b.handle(&p)
		b.runDue(b.now + time.Second)
		s.SetSeq(s.End())
	}
	judge()
	if n := testing.AllocsPerRun(100, judge); n != 0 {
		t.Errorf("%v allocations for a packet of 40 segments, want none", n)
	}
}

// TestGSOQueueOnlyWhereNeeded checks for which runs GSO packets of local senders have a queue of their own: those
// that send most of it again by themselves.
func TestGSOQueueOnlyWhereNeeded(t *testing.T) {
	delay, loss, narrow := model(t, "delay", "by", "50ms"), model(t, "loss", "chance", "1%"), model(t, "throttle", "rate", "1mbit")
	for name, c := range map[string]struct {
		faults []NamedModel
		want   bool
	}{
		"delay": {[]NamedModel{delay}, true}, "throttle": {[]NamedModel{narrow}, true}, "delay and loss": {[]NamedModel{delay, loss}, true},
		"loss": {[]NamedModel{loss}, false}, "reset": {[]NamedModel{model(t, "reset")}, false},
		"connect-stall": {[]NamedModel{model(t, "connect-stall")}, false}, // one segment a connection
	} {
		t.Run(name, func(t *testing.T) {
			i, err := newInjector(Config{Rules: []Rule{{Faults: c.faults}}})
			if err != nil {
				t.Fatal(err)
			}
			if got := i.copies().SeparateGSO; got != c.want {
				t.Errorf("apart: %v, want %v", got, c.want)
			}
			if got := strings.Contains(i.Ruleset(), "iif 0 counter queue"); got != c.want {
				t.Errorf("the rules part it: %v, want %v", got, c.want)
			}
			i.bySet = true // a verdict cannot tell the sets what several segments have to say
			if i.copies().SeparateGSO {
				t.Error("apart without verdicts that change the sets")
			}
		})
	}
}

// TestSegmenterPlan checks what becomes of packets of a flow that come as their sender made
// them: what is known of how the host cuts them up says it, and what was handed back
// before.
func TestSegmenterPlan(t *testing.T) {
	s := segmenter{gsoQueue: true, batch: 5, emptied: 4}
	var c gsoState
	var before faults.Half
	at := func(seq packet.Seq, n int) packet.Segment {
		seg, err := packet.Parse(segment(faults.Original, packet.ACK|packet.PSH, seq, 1, strings.Repeat("x", n)))
		if err != nil {
			t.Fatal(err)
		}
		return seg
	}
	super, single := &nfqueue.Packet{ID: nfqueue.GSOQueue | 1, GSO: true}, &nfqueue.Packet{ID: nfqueue.GSOQueue | 2}
	expect := func(what string, p *nfqueue.Packet, seg packet.Segment, want gsoPlan, wantSize int) {
		t.Helper()
		if plan, size := s.plan(p, &c, seg, &before, time.Second); plan != want || size != wantSize {
			t.Errorf("%s: plan %d, size %d; want %d, %d", what, plan, size, want, wantSize)
		}
	}
	expect("a segment", single, at(1, 10), judgeAsIs, 0)
	expect("several, and nothing is known", super, at(1, 3000), cutByKernel, 0)
	expect("a segment behind that", single, at(3001, 10), cutByKernel, 0)
	s.batch, s.emptied = 6, 6 // what was handed back has come again
	c.learn(at(1, 1000), time.Second)
	c.told = false
	expect("several of a known size", super, at(3011, 3000), judgeInSegments, 1000)
	expect("a segment behind that", single, at(6011, 10), judgeAsIs, 0)
	requeued := &nfqueue.Packet{Hook: localOut, ID: 3}
	if !s.isRequeued(requeued) || s.isRequeued(super) || (&segmenter{}).isRequeued(requeued) {
		t.Error("what comes again is not told from the rest")
	}
}
