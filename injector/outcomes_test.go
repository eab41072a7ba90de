package injector

import (
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/features"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/outcomes"
	"github.com/faultctl/faultctl/injector/internal/tracepoint"
	"golang.org/x/sys/unix"
	"testing"
	"time"
)

// TestOutcomes checks what the engine says of strikes, by what is seen of them.
func TestOutcomes(t *testing.T) {
	resetAt := func(at string) NamedModel { return model(t, "reset", "at", at) }
	onlyClient := model(t, "reset", "at", "request", "hit", "client")
	for name, c := range map[string]struct {
		fault NamedModel
		hook  uint8
		judge bool
		play  func(b *trackBench)
		want  outcome.Tally // its counts
		why   [3]outcome.Evidence
		fired uint64
	}{
		"refused by a firewall": {fault: onlyClient, hook: forward, play: func(b *trackBench) {
			b.s.fail = unix.EPERM
			b.open()
			b.sends(faults.Original, ack, "request")
			b.after(outcomes.SettleAfter)
		}, want: outcome.Tally{Struck: 1, Unsent: 1}, why: [3]outcome.Evidence{outcome.SendFailed, outcome.NeverReachedIt, outcome.NotAccepted}, fired: 1},
		"the client goes on": {fault: onlyClient, hook: forward, play: func(b *trackBench) {
			b.open()
			b.sends(faults.Original, ack, "request")
			b.now += time.Second
			b.next[faults.Original] -= 7
			b.sends(faults.Original, ack, "request")
			b.after(outcomes.SettleAfter)
		}, want: outcome.Tally{Struck: 1, Unaccepted: 1}, why: [3]outcome.Evidence{outcome.LeftHost, outcome.WentOn, outcome.NotAccepted}, fired: 1},
		"what the client sent before waited in the queue": {fault: onlyClient, hook: forward, play: func(b *trackBench) {
			b.open()
			b.sends(faults.Original, ack, "request")
			b.busy = true
			b.now += time.Second
			b.next[faults.Original] -= 7
			b.sends(faults.Original, ack, "request")
			b.after(outcomes.SettleAfter)
			b.after(outcomes.SettleAfter)
		}, want: outcome.Tally{Struck: 1, Felt: 1}, why: [3]outcome.Evidence{outcome.LeftHost, outcome.Silence, outcome.SentStruck}, fired: 1}, // silent after the second RST
		"the client is silent": {fault: resetAt("request"), hook: forward, play: func(b *trackBench) {
			b.open()
			b.sends(faults.Original, ack, "request")
			b.after(outcomes.AskAfter)
			b.after(outcomes.SettleAfter)
		}, want: outcome.Tally{Struck: 1, Felt: 1}, why: [3]outcome.Evidence{outcome.LeftHost, outcome.Silence, outcome.SentStruck}, fired: 1},
		"the client's socket is gone": {fault: resetAt("request"), hook: localOut, judge: true, play: func(b *trackBench) {
			b.kernel.is(client, outcomes.Alive)
			b.open()
			b.sends(faults.Original, ack, "request")
			b.after(time.Millisecond)
			b.kernel.gone(client)
			b.after(outcomes.AskAfter)
		}, want: outcome.Tally{Struck: 1, Felt: 1}, why: [3]outcome.Evidence{outcome.LeftHost, outcome.SocketGone, outcome.SentStruck}, fired: 1},
		"the client's socket lives on": {fault: resetAt("request"), hook: localOut, judge: true, play: func(b *trackBench) {
			b.kernel.is(client, outcomes.Alive)
			b.open()
			b.sends(faults.Original, ack, "request")
			b.after(outcomes.AskAfter)
		}, want: outcome.Tally{Struck: 1, Unaccepted: 1}, why: [3]outcome.Evidence{outcome.LeftHost, outcome.SocketAlive, outcome.NotAccepted}, fired: 1},
		"names that the socket does not have": {fault: resetAt("request"), hook: localOut, judge: true, play: func(b *trackBench) {
			b.open()
			b.sends(faults.Original, ack, "request")
			b.after(outcomes.AskAfter)
		}, want: outcome.Tally{Struck: 1, Unknown: 1}, why: [3]outcome.Evidence{outcome.LeftHost, outcome.NotYet, outcome.SentStruck}, fired: 1},
		"a later rule drops what goes on in its place": {fault: resetAt("response"), hook: forward, play: func(b *trackBench) {
			b.kernel.eaten = true
			b.open()
			b.sends(faults.Original, ack, "request")
			if v := b.sends(faults.Reply, ack, "answer"); v.Bytes == nil || v.Tag != outcomes.Mark {
				b.t.Errorf("what goes on in place of the answer has tag %#x", v.Tag)
			}
			b.after(outcomes.AskAfter)
			b.after(outcomes.SettleAfter)
		}, want: outcome.Tally{Struck: 1, Unsent: 1, AnswersLost: 1}, why: [3]outcome.Evidence{outcome.Eaten, outcome.NeverReachedIt, outcome.NotAccepted}, fired: 1},
		"a run behind ours holds it": {fault: resetAt("response"), hook: forward, play: func(b *trackBench) {
			b.kernel.eaten = true
			b.open()
			b.sends(faults.Original, ack, "request")
			b.sends(faults.Reply, ack, "answer")
			b.after(outcomes.AskAfter)
			b.kernel.eaten = false
			b.after(outcomes.SettleAfter)
		}, want: outcome.Tally{Struck: 1, Felt: 1, AnswersLost: 1}, why: [3]outcome.Evidence{outcome.LeftHost, outcome.Silence, outcome.SentStruck}, fired: 1},
		"expired when the client closes": {fault: model(t, "idle-expire", "after", "1s"), hook: localOut, judge: true, play: func(b *trackBench) {
			b.kernel.is(client, outcomes.Alive)
			b.open()
			b.exchange("request")
			b.now += 2 * time.Second
			b.sends(faults.Original, fin, "")
			b.kernel.gone(client)
			b.after(outcomes.AskAfter)
		}, want: outcome.Tally{Struck: 1, Unfelt: 1}, why: [3]outcome.Evidence{outcome.LeftHost, outcome.SocketGone, outcome.ClosedItself}, fired: 1},
		"expired, and nobody watched": {fault: model(t, "idle-expire", "after", "1s"), hook: forward, play: func(b *trackBench) {
			b.open()
			b.settleAll() // it is put away
			b.now += 2 * time.Second
			b.next[faults.Original] += 100
			b.next[faults.Reply] += 100
			b.sends(faults.Original, fin, "")
			b.after(outcomes.SettleAfter)
			b.after(outcomes.GiveUpAfter)
		}, want: outcome.Tally{Struck: 1, Unfelt: 1}, why: [3]outcome.Evidence{outcome.LeftHost, outcome.Silence, outcome.ClosedItself}, fired: 1},
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
		}, want: outcome.Tally{ClosedBefore: 1}},
		"both ends told, and nobody is there": {fault: model(t, "idle-expire", "after", "1s", "then", "rst-both"), hook: forward, play: func(b *trackBench) {
			b.open()
			b.sets.idleOf = map[int]time.Duration{0: time.Minute}
			b.after(time.Second)
			b.sends(faults.Reply, packet.RST, "")
			for range 5 {
				b.after(time.Second)
			}
		}, want: outcome.Tally{ClosedBefore: 1}},
		"no socket any more": {fault: resetAt("age=1s"), hook: localOut, play: func(b *trackBench) {
			b.kernel.is(client, outcomes.Alive)
			b.open()
			b.kernel.gone(client)
			b.after(2 * time.Second)
			if len(b.s.pkts) != 0 {
				b.t.Errorf("%d segments sent to a connection that is gone", len(b.s.pkts))
			}
		}, want: outcome.Tally{ClosedBefore: 1}},
		"a socket that nobody has any more": {fault: resetAt("age=1s"), hook: localOut, judge: true, play: func(b *trackBench) {
			b.kernel.is(client, outcomes.Alive)
			b.open()
			b.sends(faults.Original, ack, "request")
			b.kernel.is(client, outcomes.Orphan)
			b.after(time.Second)
			b.sends(faults.Reply, ack, "")
			b.kernel.gone(client)
			b.after(outcomes.AskAfter)
		}, want: outcome.Tally{Struck: 1, Unfelt: 1, AnswersLost: 1}, why: [3]outcome.Evidence{outcome.LeftHost, outcome.SocketGone, outcome.ClosedItself}, fired: 1},
		"windows that are closed without a word": {fault: model(t, "stall", "at", "now"), hook: forward, play: func(b *trackBench) {
			b.open()
			b.sends(faults.Original, ack, "request")
			b.sends(faults.Reply, ack, "")
			b.after(outcomes.SettleAfter)
		}, want: outcome.Tally{Struck: 1, Felt: 1}, why: [3]outcome.Evidence{outcome.ByEffect, outcome.Acknowledged, outcome.OwedAnswer}},
		"nothing but looked at": {fault: model(t, "observe"), hook: forward, play: func(b *trackBench) {
			b.open()
			b.sends(faults.Reply, packet.RST|ack, "")
			b.after(outcomes.SettleAfter)
		}, fired: 1},
		"copies do not leave": {fault: model(t, "duplicate", "chance", "100%"), hook: localOut, judge: true, play: func(b *trackBench) {
			b.s.fail = unix.EPERM
			b.sends(faults.Original, packet.SYN, "")
			b.after(time.Second)
		}, want: outcome.Tally{Struck: 1, Unsent: 1}, why: [3]outcome.Evidence{outcome.SendFailed, outcome.ByVerdict, outcome.Connecting}, fired: 1},
		"pieces do not leave": {fault: model(t, "slice", "size", "3"), hook: localOut, judge: true, play: func(b *trackBench) {
			b.open()
			b.s.fail = unix.EPERM
			b.sends(faults.Original, ack, "request")
			b.after(time.Second)
		}, want: outcome.Tally{Struck: 1, Unsent: 1}, why: [3]outcome.Evidence{outcome.SendFailed, outcome.ByVerdict, outcome.DataAffected}, fired: 1},
		"the client closes before the device forgets": {fault: model(t, "idle-expire", "after", "1s", "then", "rst-both"), hook: localOut, judge: true, play: func(b *trackBench) {
			b.kernel.is(client, outcomes.Alive)
			b.open()
			b.exchange("request")
			b.sends(faults.Original, fin, "")
			b.sends(faults.Reply, fin, "")
			b.sends(faults.Original, ack, "")
			b.kernel.gone(client)
			b.sets.idleOf = map[int]time.Duration{0: time.Minute}
			b.after(2 * time.Second)
		}, want: outcome.Tally{ClosedBefore: 1, Prevented: outcome.Prevention{How: features.ByClient, Silence: 2 * time.Millisecond, Needed: time.Second}}},
		"both close before the device forgets, and nothing else is seen": {fault: model(t, "idle-expire", "after", "1s", "then", "fin-both"), hook: forward, play: func(b *trackBench) {
			b.open()
			b.sends(faults.Original, fin, "")
			b.sends(faults.Reply, fin, "")
			b.sets.idleOf = map[int]time.Duration{0: time.Minute}
			b.after(time.Second)
			b.sends(faults.Reply, ack, "") // TIME_WAIT answers the probe
			for range 5 {
				b.after(time.Second)
			}
		}, want: outcome.Tally{ClosedBefore: 1}},
		"what is held does not leave": {fault: model(t, "delay", "by", "50ms"), hook: localOut, play: func(b *trackBench) {
			b.s.fail = unix.EPERM
			b.sends(faults.Original, packet.SYN, "")
			b.after(time.Second)
		}, want: outcome.Tally{Struck: 1, Unsent: 1}, why: [3]outcome.Evidence{outcome.SendFailed, outcome.ByVerdict, outcome.Connecting}, fired: 1},
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

// TestTraced checks that a call which returns an error is the struck connection's only if it is on
// the socket that took the RST: not on one of another namespace with the same
// addresses, nor on one that has the memory of a socket which is closed.
func TestTraced(t *testing.T) {
	cookie := uint64(client.Port()) // as the fake has it
	reset := tracepoint.Event{Kind: tracepoint.ReceivedReset, Local: client, Remote: server, Cookie: cookie, Sock: 77}
	other := reset
	other.Cookie++
	failed := tracepoint.Event{Kind: tracepoint.CallFailed, Sock: 77, Errno: unix.ECONNRESET}
	late := failed
	late.Errno = unix.ETIMEDOUT
	for name, c := range map[string]struct {
		events []tracepoint.Event
		orphan bool
		want   outcome.Evidence
	}{
		"its own call":               {[]tracepoint.Event{reset, failed}, false, outcome.ToldByCall},
		"no call":                    {[]tracepoint.Event{reset}, false, outcome.NothingAtStake},
		"another socket's call":      {[]tracepoint.Event{other, failed}, false, outcome.NotAccepted}, // the fake's socket lives on
		"its memory is another's":    {[]tracepoint.Event{reset, other, failed}, false, outcome.NothingAtStake},
		"the call gave up by itself": {[]tracepoint.Event{reset, late}, false, outcome.NothingAtStake},
		"nobody has the socket":      {[]tracepoint.Event{reset, failed}, true, outcome.ClosedItself},
	} {
		b := newTrackBench(t, true, localOut, model(t, "reset", "at", "age=1s"))
		b.kernel.is(client, outcomes.Alive)
		b.open()
		b.exchange("request")
		if c.orphan {
			b.kernel.is(client, outcomes.Orphan)
		}
		b.after(time.Second)
		b.sends(faults.Reply, ack, "") // the answer to the probe
		for _, ev := range c.events {
			b.watcher.Traced(ev)
		}
		if got := b.end(0).Settled.Furthest.Felt.Evidence; got != c.want {
			t.Errorf("%s: felt: %s, want %s", name, got, c.want)
		}
	}
}
