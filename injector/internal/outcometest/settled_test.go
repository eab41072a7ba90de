package outcometest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults/features"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/internal/tracepoint"
	"github.com/faultctl/faultctl/lab"
)

// TestSettled checks the sums that a run gives at its end: with firewalls behind it, of
// connections that kept its moment from coming, and of requests whose answers were lost.
func TestSettled(t *testing.T) {
	counts := func(want outcome.Tally, sent outcome.Evidence) func(injector.FaultStats) string {
		return func(s injector.FaultStats) string { return expect(s, want, sent) }
	}
	heartbeat := func(beats int) steps { return steps{connects("ok"), repeat(beats, idle(300*ms), exchanges)} }
	reset := steps{asked, serverSends(10), told, idle(100 * ms)}
	for _, c := range []struct {
		name, at, spec string
		steps          steps
		want           func(s injector.FaultStats) string // what is wrong; empty: nothing
	}{
		{"a firewall in output drops what is forged", "router", "reset:at=request,hit=client",
			steps{firewallIn("output"), connects("ok"), sends("request"), idle(300 * ms)}, counts(outcome.Tally{Struck: 1, Unsent: 1}, outcome.SendFailed)},
		{"a firewall in input drops what goes on in place of a segment", "client", "reset:at=response,hit=client",
			steps{firewallIn("input"), connects("ok"), asked, serverSends(10), idle(300 * ms)}, counts(outcome.Tally{Struck: 1, Unsent: 1, AnswersLost: 1}, outcome.Eaten)},
		{"a firewall in forward drops what goes on in place of a segment", "router", "reset:at=response,hit=client",
			steps{firewallIn("forward"), connects("ok"), asked, serverSends(10), idle(300 * ms)}, counts(outcome.Tally{Struck: 1, Unsent: 1, AnswersLost: 1}, outcome.Eaten)},
		{"a firewall in input drops what comes by loopback", "client", "reset:at=request,hit=client",
			steps{firewallIn("input"), connects("ok"), sends("request"), idle(300 * ms)}, counts(outcome.Tally{Struck: 1, Unsent: 1}, outcome.Eaten)},
		{"nothing drops it", "client", "reset:at=response,hit=client",
			slices.Concat(steps{connects("ok")}, reset), counts(outcome.Tally{Struck: 1, Felt: 1, AnswersLost: 1}, outcome.LeftHost)},
		{"the request comes again on another connection", "client", "reset:at=response",
			slices.Concat(steps{connects("ok")}, reset, steps{connects("ok")}, reset), counts(outcome.Tally{Struck: 2, Felt: 2, AnswersLost: 2, SentAgain: 1}, outcome.LeftHost)},
		{"a heartbeat", "client", "idle-expire:after=1500ms", append(heartbeat(8), closes, idle(50*ms)), prevented(features.ByData)},
		{"a heartbeat, and both ends would have been told", "client", "idle-expire:after=1500ms,then=rst-both", heartbeat(10), prevented(features.ByData)},
		{"a heartbeat, and a trigger that waits", "server", "reset:at=idle=1500ms", heartbeat(8), prevented(features.ByData)},
		{"a client that closes first", "client", "idle-expire:after=2s", steps{used, idle(300 * ms), closes, idle(50 * ms)}, prevented(features.ByClient)},
		{"keepalives", "client", "idle-expire:after=1500ms", steps{connects("ok"), keepalives, exchanges, idle(4 * time.Second)}, prevented(features.ByKeepalives)},
		{"nothing kept it from expiring, and it came to nothing", "client", "idle-expire:after=2s", steps{used, idle(2500 * ms)}, counts(outcome.Tally{}, outcome.None)},
		{"a socket that has gone before", "client", "reset:at=age=700ms", steps{used, serverClosesFirst, closes, idle(900 * ms)}, counts(outcome.Tally{ClosedBefore: 1}, outcome.None)},
	} {
		for _, v6 := range []bool{false, true} {
			if v6 && !lab.IPv6() {
				continue
			}
			t.Run(fmt.Sprintf("%s/IPv6 %v", c.name, v6), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, c.at, v6, true, c.spec)
				for _, step := range c.steps {
					step(w)
				}
				w.stop()
				s := w.engine.Stats().Rules[0].Faults[0]
				if wrong := c.want(s); wrong != "" {
					t.Errorf("%s: %+v", wrong, s)
					o := s.Settled.Furthest
					t.Logf("sent %s; accepted %s; felt %s", o.Sent.Evidence, o.Accepted.Evidence, o.Felt.Evidence)
					for _, line := range w.watcher.seen {
						t.Log(line)
					}
				}
				if s.Fired != s.Settled.Struck {
					t.Errorf("fired on %d, struck %d", s.Fired, s.Settled.Struck)
				}
			})
		}
	}
}

// TestKnownAtOnce checks that a run without a command, on the host of an end, knows when it
// ends what that end made of a RST, however soon that is.
func TestKnownAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		at, spec string
		steps    steps
	}{
		"the client's host":                  {"client", "reset:at=request,hit=client", steps{connects("ok"), asks("ECONNRESET")}},
		"the client's host, refused":         {"client", "refuse", steps{connects("ECONNREFUSED")}},
		"the server's host":                  {"server", "reset:at=request,hit=server", steps{connects("ok"), sends("request"), idle(50 * ms)}},
		"the client's host, another segment": {"client", "reset:at=response,hit=client", steps{connects("ok"), asked, serverSends(10), told}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.at, false, false, c.spec)
			for _, step := range c.steps {
				step(w)
			}
			w.stop()
			s := w.engine.Stats().Rules[0].Faults[0].Settled
			if o := s.Furthest; s.Struck != 1 || o.Accepted.Answer != outcome.Yes {
				t.Errorf("struck %d; accepted %s: %s", s.Struck, o.Accepted.Answer, o.Accepted.Evidence)
			}
		})
	}
}

func expect(s injector.FaultStats, want outcome.Tally, sent outcome.Evidence) string {
	got := s.Settled
	if e := got.Furthest.Sent.Evidence; e != sent {
		return fmt.Sprintf("sent: %q, want %q", e, sent)
	}
	got.Furthest, got.Prevented = outcome.Outcome{}, outcome.Prevention{}
	if got != want {
		return fmt.Sprintf("got %+v, want %+v", got, want)
	}
	return ""
}

func prevented(how features.Prevention) func(injector.FaultStats) string {
	return func(s injector.FaultStats) string {
		if p := s.Settled.Prevented; p.How != how || p.Silence <= 0 || p.Silence >= p.Needed || s.Settled.Struck != 0 {
			return fmt.Sprintf("%s, silence %v of %v, want %s", p.How, p.Silence, p.Needed, how)
		}
		return ""
	}
}

// TestReaderIsTold checks that a program which only waits in a call, and whose call returns
// the error, has felt a reset, where the kernel's tracepoints may be read.
func TestReaderIsTold(t *testing.T) {
	trace, err := tracepoint.Open(tracepoint.ReceivedReset, tracepoint.CallFailed)
	if err != nil {
		t.Skip(err)
	}
	trace.Close()
	for _, reads := range []bool{true, false} {
		w := newWorld(t, "client", false, true, "reset:at=age=700ms")
		w.connect()
		w.exchange()
		want := outcome.Unfelt
		if reads {
			w.expect(w.client.Recv(), "ECONNRESET")
			want = outcome.Survived
		} else {
			time.Sleep(900 * ms)
		}
		w.stop()
		s := w.engine.Stats().Rules[0].Faults[0].Settled
		if got := outcome.Judge(outcome.Case{Outcome: s.Furthest, Command: outcome.Succeeded}); got != want || s.Furthest.Accepted.Evidence != outcome.ReceivedReset {
			t.Errorf("reads %v: %s, accepted %s; felt %s; want %s", reads, got, s.Furthest.Accepted.Evidence, s.Furthest.Felt.Evidence, want)
		}
	}
}
