package injector

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/features"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
	"golang.org/x/sys/unix"
)

// fakeKernel plays the kernel that is asked for sockets and for what has left.
type fakeKernel struct {
	mu    sync.Mutex
	socks map[netip.AddrPort]localSock // by the local end; one that is not here is none
	eaten bool                         // nothing leaves
	asked int
}

func (k *fakeKernel) socket(local, _ netip.AddrPort) (localSock, uint64, bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked++
	s, there := k.socks[local]
	return s, uint64(local.Port()), there, nil
}

func (k *fakeKernel) left(uint32, uint32) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.eaten, nil
}

func (k *fakeKernel) is(local netip.AddrPort, s localSock) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.socks[local] = s
}

func (k *fakeKernel) gone(local netip.AddrPort) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.socks, local)
}

// trackBench is a bench that plays a connection.
type trackBench struct {
	*bench
	t      *testing.T
	hook   uint8
	events []Event
	kernel *fakeKernel
	next   [2]packet.Seq
}

func newTrackBench(t *testing.T, judge bool, hook uint8, ms ...NamedModel) *trackBench {
	rule := ruleOf(ms[0])
	rule.Faults = ms
	b := &trackBench{bench: newBench(t, rule), t: t, hook: hook, kernel: &fakeKernel{socks: map[netip.AddrPort]localSock{}}}
	if judge {
		b.judged()
	}
	b.bench.worker.kernel, b.tag = b.kernel, leavesTag
	var lost atomic.Uint64
	b.report = newReporter(make(chan struct{}, 1), &lost)
	return b
}

func (b *trackBench) judged() { b.shared.judge() }

// after lets time pass, and what is due then happen.
func (b *trackBench) after(d time.Duration) {
	b.t.Helper()
	b.now += d
	b.runDue(b.now)
	b.check(b.now)
	for b.changing > 0 {
		b.runPosted()
		time.Sleep(100 * time.Microsecond)
	}
}

// sends has an end send a segment, 1 ms after the one before.
func (b *trackBench) sends(dir faults.Direction, flags packet.Flags, payload string) nfqueue.Verdict {
	b.t.Helper()
	b.now += time.Millisecond
	if b.next[dir] == 0 {
		b.next[dir] = 1000
	}
	pkt := segment(dir, flags, b.next[dir], b.next[1-dir], payload)
	b.next[dir] += packet.Seq(len(payload))
	if flags.Any(packet.SYN | packet.FIN) {
		b.next[dir]++
	}
	hook := b.hook
	if hook == localOut && dir == faults.Reply {
		hook = localIn
	}
	return b.judge(b.t, hook, pkt)
}

func (b *trackBench) open() {
	b.t.Helper()
	b.sends(faults.Original, packet.SYN, "")
	b.sends(faults.Reply, packet.SYN|packet.ACK, "")
	b.sends(faults.Original, packet.ACK, "")
}

func (b *trackBench) exchange(request string) {
	b.t.Helper()
	b.sends(faults.Original, packet.ACK|packet.PSH, request)
	b.sends(faults.Reply, packet.ACK|packet.PSH, "answer")
	b.sends(faults.Original, packet.ACK, "")
}

// end ends the run, and returns what the fault of that ordinal came to.
func (b *trackBench) end(fault int) FaultStats {
	b.t.Helper()
	b.endOutcomes()
	deliverAll([]ring[Event]{b.report}, func(ev Event) { b.events = append(b.events, ev) })
	return b.snapshot().Rules[0].Faults[fault]
}

// told is the outcomes that events told of.
func (b *trackBench) told() (os []Event) {
	for _, ev := range b.events {
		if ev.Kind == Outcome {
			os = append(os, ev)
		}
	}
	return os
}

const (
	ack = packet.ACK
	fin = packet.FIN | packet.ACK
)

// TestOutcomes holds what the engine says of strikes, by what is seen of them.
func TestOutcomes(t *testing.T) {
	resetAt := func(at string) NamedModel { return model(t, "reset", "at", at) }
	onlyClient := model(t, "reset", "at", "request", "hit", "client")
	for name, c := range map[string]struct {
		fault NamedModel
		hook  uint8
		judge bool
		play  func(b *trackBench)
		want  Settled // its counts
		why   [3]outcome.Evidence
		fired uint64
	}{
		"refused by a firewall": {fault: onlyClient, hook: forward, play: func(b *trackBench) {
			b.s.fail = unix.EPERM
			b.open()
			b.sends(faults.Original, ack, "request")
			b.after(settleAfter)
		}, want: Settled{Struck: 1, Unsent: 1}, why: [3]outcome.Evidence{outcome.SendFailed, outcome.NeverReachedIt, outcome.NotAccepted}, fired: 1},
		"the client goes on": {fault: onlyClient, hook: forward, play: func(b *trackBench) {
			b.open()
			b.sends(faults.Original, ack, "request")
			b.now += time.Second
			b.next[faults.Original] -= 7
			b.sends(faults.Original, ack, "request")
			b.after(settleAfter)
		}, want: Settled{Struck: 1, Unaccepted: 1}, why: [3]outcome.Evidence{outcome.LeftHost, outcome.WentOn, outcome.NotAccepted}, fired: 1},
		"the client is silent": {fault: resetAt("request"), hook: forward, play: func(b *trackBench) {
			b.open()
			b.sends(faults.Original, ack, "request")
			b.after(askAfter)
			b.after(settleAfter)
		}, want: Settled{Struck: 1, Felt: 1}, why: [3]outcome.Evidence{outcome.LeftHost, outcome.Silence, outcome.SentStruck}, fired: 1},
		"the client's socket is gone": {fault: resetAt("request"), hook: localOut, judge: true, play: func(b *trackBench) {
			b.kernel.is(client, sockAlive)
			b.open()
			b.sends(faults.Original, ack, "request")
			b.after(time.Millisecond)
			b.kernel.gone(client)
			b.after(askAfter)
		}, want: Settled{Struck: 1, Felt: 1}, why: [3]outcome.Evidence{outcome.LeftHost, outcome.SocketGone, outcome.SentStruck}, fired: 1},
		"the client's socket lives on": {fault: resetAt("request"), hook: localOut, judge: true, play: func(b *trackBench) {
			b.kernel.is(client, sockAlive)
			b.open()
			b.sends(faults.Original, ack, "request")
			b.after(askAfter)
		}, want: Settled{Struck: 1, Unaccepted: 1}, why: [3]outcome.Evidence{outcome.LeftHost, outcome.SocketAlive, outcome.NotAccepted}, fired: 1},
		"names that the socket does not have": {fault: resetAt("request"), hook: localOut, judge: true, play: func(b *trackBench) {
			b.open()
			b.sends(faults.Original, ack, "request")
			b.after(askAfter)
		}, want: Settled{Struck: 1, Unknown: 1}, why: [3]outcome.Evidence{outcome.LeftHost, outcome.NotYet, outcome.SentStruck}, fired: 1},
		"a later rule drops what goes on in its place": {fault: resetAt("response"), hook: forward, play: func(b *trackBench) {
			b.kernel.eaten = true
			b.open()
			b.sends(faults.Original, ack, "request")
			if v := b.sends(faults.Reply, ack, "answer"); v.Bytes == nil || v.Tag != leavesTag {
				b.t.Errorf("what goes on in place of the answer has tag %#x", v.Tag)
			}
			b.after(askAfter)
			b.after(settleAfter)
		}, want: Settled{Struck: 1, Unsent: 1, AnswersLost: 1}, why: [3]outcome.Evidence{outcome.Eaten, outcome.NeverReachedIt, outcome.NotAccepted}, fired: 1},
		"a run behind ours holds it": {fault: resetAt("response"), hook: forward, play: func(b *trackBench) {
			b.kernel.eaten = true
			b.open()
			b.sends(faults.Original, ack, "request")
			b.sends(faults.Reply, ack, "answer")
			b.after(askAfter)
			b.kernel.eaten = false
			b.after(settleAfter)
		}, want: Settled{Struck: 1, Felt: 1, AnswersLost: 1}, why: [3]outcome.Evidence{outcome.LeftHost, outcome.Silence, outcome.SentStruck}, fired: 1},
		"expired when the client closes": {fault: model(t, "idle-expire", "after", "1s"), hook: localOut, judge: true, play: func(b *trackBench) {
			b.kernel.is(client, sockAlive)
			b.open()
			b.exchange("request")
			b.now += 2 * time.Second
			b.sends(faults.Original, fin, "")
			b.kernel.gone(client)
			b.after(askAfter)
		}, want: Settled{Struck: 1, Unfelt: 1}, why: [3]outcome.Evidence{outcome.LeftHost, outcome.SocketGone, outcome.ClosedItself}, fired: 1},
		"expired, and nobody watched": {fault: model(t, "idle-expire", "after", "1s"), hook: forward, play: func(b *trackBench) {
			b.open()
			b.settleAll() // it is put away
			b.now += 2 * time.Second
			b.next[faults.Original] += 100
			b.next[faults.Reply] += 100
			b.sends(faults.Original, fin, "")
			b.after(settleAfter)
			b.after(givenUpAfter)
		}, want: Settled{Struck: 1, Unfelt: 1}, why: [3]outcome.Evidence{outcome.LeftHost, outcome.Silence, outcome.ClosedItself}, fired: 1},
		"a probe that nobody is there for": {fault: resetAt("age=1s"), hook: forward, play: func(b *trackBench) {
			b.open()
			b.after(time.Second)
			if len(b.s.pkts) != 1 {
				b.t.Fatalf("%d probes", len(b.s.pkts))
			}
			b.sends(faults.Reply, packet.RST, "")
			for range 4 {
				b.after(time.Second)
			}
		}, want: Settled{ClosedBefore: 1}},
		"both ends told, and nobody is there": {fault: model(t, "idle-expire", "after", "1s", "then", "rst-both"), hook: forward, play: func(b *trackBench) {
			b.open()
			b.sets.idleOf = map[int]time.Duration{0: time.Minute}
			b.after(time.Second)
			b.sends(faults.Reply, packet.RST, "")
			for range 5 {
				b.after(time.Second)
			}
		}, want: Settled{ClosedBefore: 1}},
		"no socket any more": {fault: resetAt("age=1s"), hook: localOut, play: func(b *trackBench) {
			b.kernel.is(client, sockAlive)
			b.open()
			b.kernel.gone(client)
			b.after(2 * time.Second)
			if len(b.s.pkts) != 0 {
				b.t.Errorf("%d segments sent to a connection that is gone", len(b.s.pkts))
			}
		}, want: Settled{ClosedBefore: 1}},
		"a socket that nobody has any more": {fault: resetAt("age=1s"), hook: localOut, judge: true, play: func(b *trackBench) {
			b.kernel.is(client, sockAlive)
			b.open()
			b.sends(faults.Original, ack, "request")
			b.kernel.is(client, sockOrphan)
			b.after(time.Second)
			b.sends(faults.Reply, ack, "")
			b.kernel.gone(client)
			b.after(askAfter)
		}, want: Settled{Struck: 1, Unfelt: 1, AnswersLost: 1}, why: [3]outcome.Evidence{outcome.LeftHost, outcome.SocketGone, outcome.ClosedItself}, fired: 1},
		"windows that are closed without a word": {fault: model(t, "stall", "at", "now"), hook: forward, play: func(b *trackBench) {
			b.open()
			b.sends(faults.Original, ack, "request")
			b.sends(faults.Reply, ack, "")
			b.after(settleAfter)
		}, want: Settled{Struck: 1, Felt: 1}, why: [3]outcome.Evidence{outcome.ByEffect, outcome.Acknowledged, outcome.OwedAnswer}},
		"nothing but looked at": {fault: model(t, "observe"), hook: forward, play: func(b *trackBench) {
			b.open()
			b.sends(faults.Reply, packet.RST|ack, "")
			b.after(settleAfter)
		}, fired: 1},
		"what is held does not leave": {fault: model(t, "delay", "by", "50ms"), hook: localOut, play: func(b *trackBench) {
			b.s.fail = unix.EPERM
			b.sends(faults.Original, packet.SYN, "")
			b.after(time.Second)
		}, want: Settled{Struck: 1, Unsent: 1}, why: [3]outcome.Evidence{outcome.SendFailed, outcome.ByVerdict, outcome.Connecting}, fired: 1},
	} {
		t.Run(name, func(t *testing.T) {
			b := newTrackBench(t, c.judge, c.hook, c.fault)
			b.t = t
			c.play(b)
			s := b.end(0)
			got := s.Settled
			why := [3]outcome.Evidence{got.Furthest.Sent.Evidence, got.Furthest.Accepted.Evidence, got.Furthest.Felt.Evidence}
			furthest := got.Furthest
			got.Furthest = outcome.Outcome{}
			if got != c.want || why != c.why || s.Fired != c.fired {
				t.Errorf("%+v, fired %d, want %+v, %d", got, s.Fired, c.want, c.fired)
				t.Errorf("sent %s; accepted %s; felt %s", why[0], why[1], why[2])
			}
			told := b.told()
			if n := got.Struck + got.ClosedBefore; len(told) != int(n) {
				t.Errorf("%d events for %d outcomes", len(told), n)
			}
			for _, ev := range told {
				if ev.Outcome != furthest || ev.Fault != c.fault.Name || ev.Flow.Client != client.String() {
					t.Errorf("told %+v", ev)
				}
			}
		})
	}
}

// TestSigned holds that a connection whose segments are signed is let go where a fault
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

// TestPrevented holds what is said to have kept a connection from being idle.
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
		want := Prevented{}
		if c.how != features.NotPrevented {
			want = Prevented{c.how, c.silence, time.Second}
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

// TestSentAgain holds that requests which reached the service whole and whose answer was
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
		b.after(settleAfter)
		if s := b.end(0).Settled; s.AnswersLost != c.lost || s.SentAgain != c.twice || s.Struck != 1 {
			t.Errorf("%s: %d answers lost, %d sent again of %d; want %d, %d of 1", name, s.AnswersLost, s.SentAgain, s.Struck, c.lost, c.twice)
		}
	}
}

// TestWatchedAfter holds that a connection which was struck is watched until its
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
	b.now += 2 * time.Second
	if v := b.sends(faults.Reply, ack, ""); !released(v) {
		t.Errorf("3 s after the strike: %+v, want it released", v)
	}
	b.after(settleAfter)
	b.settleAll()
	if b.parked.n != 0 || len(b.flows.flows) != 1 {
		t.Error("a connection whose outcome is not settled is put away")
	}
	b.after(givenUpAfter)
	b.settleAll()
	if s := b.snapshot().Rules[0].Faults[0].Settled; s.Struck != 1 || len(b.flows.flows) != 0 && b.flows.seen.Oldest().track != nil {
		t.Errorf("%+v after %v", s, givenUpAfter)
	}
	b = newTrackBench(t, false, forward, model(t, "partition", "at", "now", "for", "1s"))
	b.sends(faults.Original, ack, "request")
	b.now += time.Second
	if v := b.sends(faults.Reply, ack, ""); v.Drop || !released(v) {
		t.Errorf("what was known at once: %+v, want it released", v)
	}
}

// TestJudgedIsWatched holds that a chosen connection is not put away or let go while a
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
