package injector

import (
	"bytes"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
)

// seen is a packet as a test keeps it.
type seen struct {
	Packet
	comment string
}

// tapBench is a bench whose packets are taken down.
func tapBench(t testing.TB, rules ...Rule) (b *bench, look func() []seen) {
	t.Helper()
	b = newBench(t, rules...)
	b.tap = newTap(time.Now(), make(chan struct{}, 1), &b.totals.unseen)
	return b, func() (all []seen) {
		deliverAll([]ring[Packet]{b.tap}, func(p Packet) {
			p.Bytes, p.Notes = bytes.Clone(p.Bytes), append([]faults.Note(nil), p.Notes...)
			all = append(all, seen{p, p.Comment()})
		})
		return all
	}
}

// TestTapFates checks that each packet of a chosen connection is shown as it
// came and as it went on, with what was done to it and why.
func TestTapFates(t *testing.T) {
	syn := segment(faults.Original, packet.SYN, 100, 0, "")
	data := segment(faults.Original, packet.ACK|packet.PSH, 101, 1, "0123456789")
	for name, c := range map[string]struct {
		rule    Rule
		pkts    [][]byte
		fates   []Fate
		comment []string // of each, a part of it; "" is none at all
	}{
		"pass": {ruleOf(model(t, "reset", "at", "bytes=1000")), [][]byte{syn}, []Fate{Passed}, []string{""}},
		"drop": {ruleOf(model(t, "syn-drop")), [][]byte{syn}, []Fate{Dropped}, []string{"dropped by syn-drop: drop to server, "}},
		"forge": {ruleOf(model(t, "reset", "at", "syn")), [][]byte{syn}, []Fate{Dropped, Forged},
			[]string{"dropped by reset: rst to client, ", "forged by reset: rst to client, "}},
		"delay": {ruleOf(NamedModel{"slow", delayModel{50 * time.Millisecond}}), [][]byte{syn}, []Fate{Delayed, Late},
			[]string{"delayed for 50ms", "went on 50ms after it came"}},
		"rewrite": {ruleOf(model(t, "corrupt", "chance", "100%", "what", "payload")), [][]byte{syn, data}, []Fate{Passed, Rewritten, Replacement},
			[]string{"", "rewritten by corrupt; the next packet is what it went on as: rewrite to server, ", "put in place of the packet before"}},
	} {
		t.Run(name, func(t *testing.T) {
			b, look := tapBench(t, c.rule)
			for i, p := range c.pkts {
				b.handle(&nfqueue.Packet{ID: nfqueue.ID(i), Hook: forward, Bytes: bytes.Clone(p)})
			}
			all := look()
			if len(all) != len(c.fates) {
				t.Fatalf("%d packets seen, want %d: %v", len(all), len(c.fates), all)
			}
			for i, p := range all {
				if p.Fate != c.fates[i] {
					t.Errorf("packet %d is %v, want %v", i, p.Fate, c.fates[i])
				}
				if want := c.comment[i]; !strings.Contains(p.comment, want) || want == "" && p.comment != "" {
					t.Errorf("comment %q, want %q", p.comment, want)
				}
				if p.Fate.Came() && p.comment != "" && !strings.HasSuffix(p.comment, "(rule 0, connection 0)") {
					t.Errorf("comment %q names no connection", p.comment)
				}
			}
			if last := all[len(all)-1]; last.Fate == Late && last.Time.Sub(all[0].Time) < 50*time.Millisecond {
				t.Errorf("the delayed packet leaves %v after it came", last.Time.Sub(all[0].Time))
			}
			if first := all[0]; string(first.Bytes) != string(c.pkts[0]) || first.Length != len(c.pkts[0]) {
				t.Error("the first packet is not shown as it came")
			}
			if n := len(all) - 1; all[n].Fate == Replacement && string(all[n].Bytes) == string(all[n-1].Bytes) {
				t.Error("the replacement is the original")
			}
		})
	}
}

// TestTapRemembersWhy checks that a packet which is delayed like one before it
// carries that one's reason, and that one which only waits behind another says
// so.
func TestTapRemembersWhy(t *testing.T) {
	b, look := tapBench(t, ruleOf(model(t, "delay", "by", "30ms", "dir", "client")))
	for i := range 3 {
		b.handle(&nfqueue.Packet{ID: nfqueue.ID(i), Hook: forward, Bytes: segment(faults.Original, packet.ACK, 1, 1, "x")})
	}
	for i, p := range look() {
		if want := "by delay: delay to server, "; !strings.Contains(p.comment, want) {
			t.Errorf("packet %d: %q, want %q", i, p.comment, want)
		}
	}
	b, look = tapBench(t, ruleOf(NamedModel{"deaf", onceModel{}}))
	for i, dir := range []faults.Direction{faults.Original, faults.Reply, faults.Original} {
		b.handle(&nfqueue.Packet{ID: nfqueue.ID(i), Hook: forward, Bytes: segment(dir, packet.ACK, 1, 1, "x")})
	}
	for i, p := range look() {
		if want := "dropped by deaf: drop to " + [...]string{"server", "client", "server"}[i] + ", deaf"; !strings.Contains(p.comment, want) {
			t.Errorf("packet %d: %q, want %q", i, p.comment, want)
		}
	}
	b, look = tapBench(t, ruleOf(model(t, "delay", "by", "30ms")))
	for i, dir := range []faults.Direction{faults.Original, faults.Reply} {
		b.handle(&nfqueue.Packet{ID: nfqueue.ID(i), Hook: forward, Bytes: segment(dir, packet.ACK, 1, 1, "x")})
	}
	for i, p := range look() {
		if want := "by delay: delay to " + map[bool]string{true: "client", false: "server"}[p.FromServer] + ", "; !strings.Contains(p.comment, want) {
			t.Errorf("packet %d: %q, want %q", i, p.comment, want)
		}
	}
	b, look = tapBench(t, ruleOf(NamedModel{"slow", delayModel{50 * time.Millisecond}}))
	b.now = time.Second - time.Millisecond
	b.handle(&nfqueue.Packet{ID: 1, Hook: forward, Bytes: segment(faults.Original, packet.ACK, 1, 1, "x")})
	b.now = time.Second + time.Millisecond // the fault has ended
	b.handle(&nfqueue.Packet{ID: 2, Hook: forward, Bytes: segment(faults.Original, packet.ACK, 2, 1, "x")})
	all := look()
	if got, want := all[len(all)-1].comment, "went on 48ms after it came, delayed: an older packet of its direction is still held"; !strings.HasPrefix(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// onceModel drops everything, and says why once.
type onceModel struct{}

func (onceModel) Validate() error           { return nil }
func (onceModel) Diverts() faults.Diversion { return faults.Diversion{All: true} }
func (onceModel) Start() faults.Instance {
	return faults.PerFlow(func() faults.Fault { return new(once) })
}

type once bool

func (o *once) OnSegment(ev *faults.Event, out *faults.Effects) faults.Verdict {
	if !*o {
		*o = true
		out.Note(faults.Dropped, ev.Dir.To(), "deaf")
	}
	return faults.Drop
}

// TestTapShowsChosenOnly checks that others' packets are not shown.
func TestTapShowsChosenOnly(t *testing.T) {
	r := ruleOf(model(t, "reset"))
	r.Pick.Skip = 1
	b, look := tapBench(t, r)
	b.judge(t, forward, segment(faults.Original, packet.SYN, 100, 0, ""))
	if all := look(); len(all) != 0 {
		t.Errorf("%d packets of a connection that was not chosen", len(all))
	}
}

// TestTapNeverTears runs packets of many sizes around the ring, and holds that
// each is whole and that what finds no room is counted.
func TestTapNeverTears(t *testing.T) {
	var lost atomic.Uint64
	tp, f, rec := newTap(time.Now(), make(chan struct{}, 1), &lost), &entry{}, &tapRecord{}
	f.Client, f.Server = client, server
	sent, got := uint64(0), uint64(0)
	for round := range 40 {
		for i := range 200 {
			tp.put(f, rec, Passed, bytes.Repeat([]byte{byte(sent)}, 1+(i*7919+round)%65535))
			sent++
		}
		deliverAll([]ring[Packet]{tp}, func(p Packet) {
			got++
			if n := bytes.Count(p.Bytes, p.Bytes[:1]); n != len(p.Bytes) {
				t.Fatalf("packet of %d bytes has %d of its own", len(p.Bytes), n)
			}
		})
	}
	if got+lost.Load() != sent || got == 0 {
		t.Errorf("%d seen and %d lost of %d", got, lost.Load(), sent)
	}
	for range tapPackets + 5 {
		tp.put(f, rec, Passed, []byte{1})
	}
	before := lost.Load()
	if tp.put(f, rec, Passed, []byte{1}); lost.Load() != before+1 {
		t.Error("a packet that finds no room is not counted")
	}
}

// TestTapAllocatesNothing checks that being watched costs the packet path no
// allocation.
func TestTapAllocatesNothing(t *testing.T) {
	b, _ := tapBench(t, ruleOf(model(t, "reset", "at", "now")))
	quiet := &silentQueue{}
	b.queue, b.sender = quiet, quiet
	p := nfqueue.Packet{ID: 1, Hook: forward, Bytes: segment(faults.Original, packet.ACK, 1, 1, "ping")}
	none := func(Packet) {}
	b.handle(&p)
	if n := testing.AllocsPerRun(1000, func() {
		b.handle(&p)
		if b.tap.write.Load()-b.tap.read.Load() > tapPackets/2 {
			b.tap.read.Store(b.tap.write.Load())
			b.tap.freed.Store(b.tap.head)
		}
	}); n != 0 {
		t.Errorf("%v allocations a packet, want none", n)
	}
	deliverAll([]ring[Packet]{b.tap}, none)
}

// TestDescribe checks the words for packets.
func TestDescribe(t *testing.T) {
	var d Describer
	for _, c := range []struct {
		pkt  []byte
		back bool
		want string
	}{
		{segment(faults.Original, packet.SYN, 5000, 0, ""), false, "[S] seq 0 win 1000"},
		{segment(faults.Reply, packet.SYN|packet.ACK, 900, 5001, ""), true, "[S.] seq 0 ack 1 win 1000"},
		{segment(faults.Original, packet.ACK|packet.PSH, 5001, 901, "hello"), false, "[P.] seq 1:6 ack 1 win 1000 length 5"},
		{segment(faults.Reply, packet.RST, 901, 0, ""), true, "[R] seq 1 win 1000"},
		{[]byte{0x45, 0}, true, "ICMP error, 2 bytes"},
	} {
		p := Packet{Bytes: c.pkt, Length: len(c.pkt), FromServer: c.back, Flow: Flow{"a", "b"}}
		if got := d.Describe(&p); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// TestWhoSeesWholePackets checks that payloads are copied for those who want
// them, and that a packet without its payload is still described with its length.
func TestWhoSeesWholePackets(t *testing.T) {
	cfg := Config{Rules: []Rule{ruleOf(model(t, "syn-drop"))}}
	if cfg.copies().Whole {
		t.Fatal("syn-drop wants whole packets: this shows nothing")
	}
	cfg.OnPacket = func(Packet) {}
	if !cfg.copies().Whole {
		t.Error("who sees packets does not see them whole")
	}
	cfg.HeadersOnly = true
	if cfg.copies().Whole {
		t.Error("payloads are copied for one who does without")
	}
	whole := segment(faults.Original, packet.ACK, 1, 1, "hello")
	b, look := tapBench(t, ruleOf(model(t, "reset", "at", "bytes=1000")))
	b.handle(&nfqueue.Packet{ID: 1, Hook: forward, Bytes: whole[:len(whole)-5]})
	all := look()
	var d Describer
	if len(all) != 1 || all[0].Length != len(whole) || !strings.HasSuffix(d.Describe(&all[0].Packet), "length 5") {
		t.Errorf("seen %+v", all)
	}
}
