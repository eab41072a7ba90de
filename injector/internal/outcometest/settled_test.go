package outcometest

import (
	"fmt"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults/features"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/internal/minirun"
	"github.com/faultctl/faultctl/injector/internal/tracepoint"
	"github.com/faultctl/faultctl/lab"
	"golang.org/x/sys/unix"
)

// firewall has this run's host drop every RST in a hook, behind our rules.
func (w *world) firewall(hook string) {
	minirun.Shell(w.t, w.node().NS, "nft add table inet fw; nft add chain inet fw c '{ type filter hook "+hook+" priority 0; }'; nft add rule inet fw c tcp flags rst drop")
}

// TestSettled holds what a run says of its own of what it did, in the sums that are
// complete when it has ended: with firewalls behind it, of connections that
// kept its moment from coming, and of requests whose answers were lost.
func TestSettled(t *testing.T) {
	for _, c := range []struct {
		name, at, spec string
		play           func(w *world)
		want           func(s injector.FaultStats) string // what is wrong; empty: nothing
	}{{
		"a firewall in output drops what is forged", "router", "reset:at=request,hit=client", func(w *world) {
			w.firewall("output")
			w.connect()
			w.client.Send("request")
			time.Sleep(300 * ms)
		}, func(s injector.FaultStats) string {
			return expect(s, injector.Settled{Struck: 1, Unsent: 1}, outcome.SendFailed)
		},
	}, {
		"a firewall in input drops what goes on in place of a segment", "client", "reset:at=response,hit=client", func(w *world) {
			w.firewall("input")
			w.connect()
			w.client.Send("request")
			w.whole(w.server, "request")
			w.server.Send("the answer")
			time.Sleep(300 * ms)
		}, func(s injector.FaultStats) string {
			return expect(s, injector.Settled{Struck: 1, Unsent: 1, AnswersLost: 1}, outcome.Eaten)
		},
	}, {
		"a firewall in forward drops what goes on in place of a segment", "router", "reset:at=response,hit=client", func(w *world) {
			w.firewall("forward")
			w.connect()
			w.client.Send("request")
			w.whole(w.server, "request")
			w.server.Send("the answer")
			time.Sleep(300 * ms)
		}, func(s injector.FaultStats) string {
			return expect(s, injector.Settled{Struck: 1, Unsent: 1, AnswersLost: 1}, outcome.Eaten)
		},
	}, {
		"a firewall in input drops what comes by loopback", "client", "reset:at=request,hit=client", func(w *world) {
			w.firewall("input")
			w.connect()
			w.client.Send("request")
			time.Sleep(300 * ms)
		}, func(s injector.FaultStats) string {
			return expect(s, injector.Settled{Struck: 1, Unsent: 1}, outcome.Eaten)
		},
	}, {
		"nothing drops it", "client", "reset:at=response,hit=client", func(w *world) {
			w.connect()
			w.client.Send("request")
			w.whole(w.server, "request")
			w.server.Send("the answer")
			w.expect(w.client.Recv(), "ECONNRESET")
			time.Sleep(100 * ms)
		}, func(s injector.FaultStats) string {
			return expect(s, injector.Settled{Struck: 1, Felt: 1, AnswersLost: 1}, outcome.LeftHost)
		},
	}, {
		"the request comes again on another connection", "client", "reset:at=response", func(w *world) {
			for range 2 {
				w.connect()
				w.client.Send("transfer 100")
				w.whole(w.server, "transfer 100")
				w.server.Send("done")
				w.expect(w.client.Recv(), "ECONNRESET")
			}
			time.Sleep(100 * ms)
		}, func(s injector.FaultStats) string {
			return expect(s, injector.Settled{Struck: 2, Felt: 2, AnswersLost: 2, SentAgain: 1}, outcome.LeftHost)
		},
	}, {
		"a heartbeat", "client", "idle-expire:after=1500ms", func(w *world) {
			w.connect()
			for range 8 {
				time.Sleep(300 * ms)
				w.exchange()
			}
			w.close()
			time.Sleep(50 * ms)
		}, prevented(features.ByData),
	}, {
		"a heartbeat, and both ends would have been told", "client", "idle-expire:after=1500ms,then=rst-both", func(w *world) {
			w.connect()
			for range 10 {
				time.Sleep(300 * ms)
				w.exchange()
			}
		}, prevented(features.ByData),
	}, {
		"a heartbeat, and a trigger that waits", "server", "reset:at=idle=1500ms", func(w *world) {
			w.connect()
			for range 8 {
				time.Sleep(300 * ms)
				w.exchange()
			}
		}, prevented(features.ByData),
	}, {
		"a client that closes first", "client", "idle-expire:after=2s", func(w *world) {
			w.connect()
			w.exchange()
			time.Sleep(300 * ms)
			w.close()
			time.Sleep(50 * ms)
		}, prevented(features.ByClient),
	}, {
		"keepalives", "client", "idle-expire:after=1500ms", func(w *world) {
			w.connect()
			for option, value := range map[int]int{unix.TCP_KEEPIDLE: 1, unix.TCP_KEEPINTVL: 1} {
				if err := w.client.SetInt(unix.IPPROTO_TCP, option, value); err != nil {
					w.t.Fatal(err)
				}
			}
			if err := w.client.SetInt(unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1); err != nil {
				w.t.Fatal(err)
			}
			w.exchange()
			time.Sleep(4 * time.Second)
		}, prevented(features.ByKeepalives),
	}, {
		"nothing kept it from expiring, and it came to nothing", "client", "idle-expire:after=2s", func(w *world) {
			w.connect()
			w.exchange()
			time.Sleep(2500 * ms)
		}, func(s injector.FaultStats) string {
			return expect(s, injector.Settled{}, outcome.None)
		},
	}, {
		"a socket that has gone before", "client", "reset:at=age=700ms", func(w *world) {
			w.connect()
			w.exchange()
			w.server.Close()
			w.client.Recv()
			w.close()
			time.Sleep(900 * ms)
		}, func(s injector.FaultStats) string {
			return expect(s, injector.Settled{ClosedBefore: 1}, outcome.None)
		},
	}} {
		for _, v6 := range []bool{false, true} {
			if v6 && !lab.IPv6() {
				continue
			}
			t.Run(fmt.Sprintf("%s/IPv6 %v", c.name, v6), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, c.at, v6, true, c.spec)
				c.play(w)
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

func expect(s injector.FaultStats, want injector.Settled, sent outcome.Evidence) string {
	got := s.Settled
	if e := got.Furthest.Sent.Evidence; e != sent {
		return fmt.Sprintf("sent: %q, want %q", e, sent)
	}
	got.Furthest, got.Prevented = outcome.Outcome{}, injector.Prevented{}
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

// TestReaderIsTold holds that a program which only waits in a call, and whose call returns
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
