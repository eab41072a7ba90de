package injector

import (
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/features"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/outcomes"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
	"net/netip"
	"testing"
	"time"
)

// TestSigned checks that a connection whose segments are signed is let go where a fault
// would send one that is not, and is struck by faults that only drop or delay.
func TestSigned(t *testing.T) {
	signed := func(dir faults.Direction, seq packet.Seq, payload string) []byte {
		f := packet.Fields{Src: client, Dst: server, TTL: 64, Seq: seq, Ack: 1, Flags: ack, Options: [40]byte{19, 18}, OptionsLen: 20}
		if dir == faults.Reply {
			f.Src, f.Dst = server, client
		}
		return f.Append(nil, []byte(payload))
	}
	for name, c := range map[string]struct {
		fault NamedModel
		hits  bool
	}{
		"reset": {fault: model(t, "reset", "at", "request")},
		"stall": {fault: model(t, "stall", "at", "now")},
		"loss":  {fault: model(t, "loss", "chance", "100%"), hits: true},
		"delay": {fault: model(t, "delay", "by", "1s"), hits: true},
	} {
		b := newTrackBench(t, false, forward, c.fault)
		b.bench.id++
		b.handle(&nfqueue.Packet{ID: 1, Hook: forward, Bytes: signed(faults.Original, 100, "x")})
		if hit := len(b.q.verdicts) == 0 || b.q.verdicts[0].Drop; hit != c.hits {
			t.Errorf("%s: %v", name, b.q.verdicts)
		}
		if !c.hits && (b.q.verdicts[0].Bytes != nil || ruleset.Signal(b.q.verdicts[0].Signal)&ruleset.Release == 0) {
			t.Errorf("%s: %+v, want it let go as it is", name, b.q.verdicts[0])
		}
		s := b.end(0)
		if got := b.snapshot().Signed; (got == 1) == c.hits || (s.Fired == 1) != c.hits || len(b.s.pkts) != 0 && !c.hits {
			t.Errorf("%s: fired %d, %d connections counted as signed, %d segments sent", name, s.Fired, got, len(b.s.pkts))
		}
	}
}

// TestPrevented checks what is said to have kept a connection from being idle.
func TestPrevented(t *testing.T) {
	for name, c := range map[string]struct {
		fault   NamedModel
		judge   bool
		play    func(b *trackBench)
		how     features.Prevention
		silence time.Duration
	}{
		"a heartbeat": {model(t, "idle-expire", "after", "1s"), true, func(b *trackBench) {
			for range 10 {
				b.now += 500*time.Millisecond - 3*time.Millisecond
				b.exchange("ping")
			}
		}, features.ByData, 498 * time.Millisecond},
		"keepalives": {model(t, "reset", "at", "idle=1s"), true, func(b *trackBench) {
			for range 10 {
				b.now += 499 * time.Millisecond
				b.next[faults.Original]--
				b.sends(faults.Original, ack, "")
				b.next[faults.Original]++
				b.sends(faults.Reply, ack, "")
			}
		}, features.ByKeepalives, 500 * time.Millisecond},
		"the client closes": {model(t, "idle-expire", "after", "1s"), true, func(b *trackBench) {
			b.now += 800 * time.Millisecond
			b.sends(faults.Original, fin, "")
			b.sends(faults.Reply, fin, "")
			b.sends(faults.Original, ack, "")
		}, features.ByClient, 802 * time.Millisecond},
		"still open": {model(t, "idle-expire", "after", "1m"), true, func(b *trackBench) {
			b.now += time.Second
		}, features.NotPrevented, 0},
		"a fault that does not wait": {model(t, "reset", "at", "bytes=1000"), true, func(b *trackBench) {
			b.sends(faults.Original, fin, "")
		}, features.NotPrevented, 0},
		"not watched": {model(t, "idle-expire", "after", "1s"), false, func(b *trackBench) {
			b.now += 800 * time.Millisecond
			b.sends(faults.Original, fin, "")
		}, features.NotPrevented, 0},
	} {
		b := newTrackBench(t, c.judge, forward, c.fault)
		b.open()
		b.exchange("request")
		c.play(b)
		s := b.end(0)
		want := outcome.Prevention{}
		if c.how != features.NotPrevented {
			want = outcome.Prevention{How: c.how, Silence: c.silence, Needed: time.Second}
		}
		if s.Settled.Prevented != want || s.Fired != 0 {
			t.Errorf("%s: %+v, fired %d, want %+v", name, s.Settled.Prevented, s.Fired, want)
		}
	}
}

// on has another connection of the same hosts be played.
func (b *trackBench) on(port uint16, request string, answered bool) (released bool) {
	seg := func(dir faults.Direction, flags packet.Flags, seq, ackno packet.Seq, payload string) []byte {
		f := packet.Fields{Src: netip.AddrPortFrom(client.Addr(), port), Dst: server, TTL: 64, Seq: seq, Ack: ackno, Flags: flags, Window: 1000}
		if dir == faults.Reply {
			f.Src, f.Dst = f.Dst, f.Src
		}
		return f.Append(nil, []byte(payload))
	}
	n := packet.Seq(len(request))
	all := [][]byte{
		seg(faults.Original, packet.SYN, 9, 0, ""), seg(faults.Reply, packet.SYN|ack, 19, 10, ""), seg(faults.Original, ack, 10, 20, ""),
		seg(faults.Original, ack, 10, 20, request),
	}
	if answered {
		all = append(all, seg(faults.Reply, ack, 20, 10+n, "answer"))
	}
	for _, pkt := range all {
		b.now += time.Millisecond
		v := b.judge(b.t, b.hook, pkt)
		released = released || ruleset.Signal(v.Signal)&ruleset.Release != 0
	}
	return released
}

// TestSentAgain checks that requests which reached the service whole and whose answer was
// lost are counted, and those of them whose bytes come again, on a connection that is
// chosen or not.
func TestSentAgain(t *testing.T) {
	for name, c := range map[string]struct {
		at          string
		judge       bool
		again       string
		lost, twice uint64
	}{
		"the same request":         {"response", true, "GET / HTTP/1.1", 1, 1},
		"another request":          {"response", true, "GET /other HTTP/1.1", 1, 0},
		"the request did not pass": {"request", true, "GET / HTTP/1.1", 0, 0},
		"nobody watches":           {"response", false, "GET / HTTP/1.1", 1, 0},
	} {
		rule := ruleOf(model(t, "reset", "at", c.at))
		rule.Pick.First = 1
		b := newTrackBench(t, c.judge, forward, rule.Faults[0])
		b.shared.rules[0].Rule.Pick = rule.Pick
		b.on(40001, "GET / HTTP/1.1", c.at == "response")
		if released := b.on(40002, c.again, true); !released {
			t.Errorf("%s: a connection that was not chosen is not released when its first request is answered", name)
		}
		b.after(outcomes.SettleAfter)
		if s := b.end(0).Settled; s.AnswersLost != c.lost || s.SentAgain != c.twice || s.Struck != 1 {
			t.Errorf("%s: %d answers lost, %d sent again of %d; want %d, %d of 1", name, s.AnswersLost, s.SentAgain, s.Struck, c.lost, c.twice)
		}
	}
}

// TestWatchedAfter checks that a connection which was struck is watched until its
// outcome is known, for 3 s at most, and is let go then, as one that was not struck is at
// once.
func TestWatchedAfter(t *testing.T) {
	released := func(v nfqueue.Verdict) bool { return ruleset.Signal(v.Signal)&ruleset.Release != 0 }
	b := newTrackBench(t, false, forward, model(t, "partition", "at", "now", "for", "1s"))
	b.sends(faults.Reply, ack, "") // a bare ACK: nobody felt it
	b.now += time.Second
	if v := b.sends(faults.Reply, ack, ""); v.Drop || released(v) {
		t.Errorf("a second after the strike: %+v, want it watched", v)
	}
	b.now += outcomes.SettleAfter - time.Second
	if v := b.sends(faults.Reply, ack, ""); !released(v) {
		t.Errorf("%v after the strike: %+v, want it released", outcomes.SettleAfter, v)
	}
	b.after(outcomes.SettleAfter)
	b.settleAll()
	if b.parked.n != 0 || len(b.flows.flows) != 1 {
		t.Error("a connection whose outcome is not settled is put away")
	}
	b.after(outcomes.GiveUpAfter)
	b.settleAll()
	if s := b.snapshot().Rules[0].Faults[0].Settled; s.Struck != 1 || len(b.flows.flows) != 0 && b.flows.seen[underway].Oldest().outcome != nil {
		t.Errorf("%+v after %v", s, outcomes.GiveUpAfter)
	}
	b = newTrackBench(t, false, forward, model(t, "partition", "at", "now", "for", "1s"))
	b.sends(faults.Original, ack, "request")
	b.now += time.Second
	if v := b.sends(faults.Reply, ack, ""); v.Drop || !released(v) {
		t.Errorf("what was known at once: %+v, want it released", v)
	}
}

// TestJudgedIsWatched checks that a chosen connection is not put away or let go while a
// command is judged by it.
func TestJudgedIsWatched(t *testing.T) {
	b := newTrackBench(t, true, forward, model(t, "reset", "at", "age=10s"))
	b.open()
	b.exchange("request")
	b.settleAll()
	if b.parked.n != 0 {
		t.Error("it was put away")
	}
	for _, v := range b.q.verdicts {
		if ruleset.Signal(v.Signal)&ruleset.Release != 0 {
			t.Errorf("it was released: %+v", v)
		}
	}
}
