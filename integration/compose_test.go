package integration

import (
	"net/netip"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/strike"
	"github.com/faultctl/faultctl/lab"
)

// TestTwoFaultsOnOneFlow checks that each of two faults on a flow does what it
// does alone, when its time comes.
func TestTwoFaultsOnOneFlow(t *testing.T) {
	everywhere(t, func(t *testing.T, w *testbed) {
		w.inject("syn-drop:attempts=1", "delay:by=100ms", "reset:at=match=kill")
		start := time.Now()
		client, server := w.open()
		if took := time.Since(start); took < 1200*time.Millisecond { // a second for the SYN, and a delayed round trip
			t.Errorf("connect took %v", took)
		}
		start = time.Now()
		says(t, "delayed", client.Send("ping"), server.Recv(), server.Send("pong"), client.Recv())("4", "ping", "4", "pong")
		if took := time.Since(start); took < 200*time.Millisecond {
			t.Errorf("a round trip took %v", took)
		}
		says(t, "reset", client.Send("kill"), client.Recv(), client.Send("more"))("4", "ECONNRESET", "EPIPE")
		if !lab.Eventually(func() bool {
			return w.fired(faults.Dropped, faults.Server) && w.fired(faults.Delayed, faults.Server) && w.fired(faults.SentRST, faults.Client)
		}) {
			t.Error("not all three say that they have fired")
		}
	})
}

// TestDelayedAnswerAndReset checks that a RST does not overtake the response that
// a delay holds: the client reads the response, and then gets the error with the
// first RST.
func TestDelayedAnswerAndReset(t *testing.T) {
	everywhere(t, func(t *testing.T, w *testbed) {
		w.inject("delay:by=50ms,jitter=20ms", "unread-close")
		client, server := w.open()
		before := w.counters("TcpExtTCPChallengeACK")["TcpExtTCPChallengeACK"]
		says(t, "request", client.Send("ask"), server.Recv(), server.Send("answer"))("3", "ask", "6")
		says(t, "answer", client.Recv(), client.Recv(), client.Send("more"))("answer", "ECONNRESET", "EPIPE")
		if n := w.counters("TcpExtTCPChallengeACK")["TcpExtTCPChallengeACK"] - before; n != 0 {
			t.Errorf("%d RSTs were doubted", n)
		}
	})
}

// TestTwoRules checks that two faults on different targets do not affect each
// other, and that neither affects a third target.
func TestTwoRules(t *testing.T) {
	everywhere(t, func(t *testing.T, w *testbed) {
		other, at := w.listen(netip.AddrPortFrom(w.service.Addr(), 5434))
		after := w.bystander()
		to := func(port uint16, specs ...string) injector.Rule {
			r := injector.Rule{Match: target.Matcher{To: []target.Endpoint{{LowPort: port, HighPort: port}}}}
			for _, s := range specs {
				r.Faults = append(r.Faults, strike.Fault(t, s))
			}
			return r
		}
		run := w.run(injector.Config{Rules: []injector.Rule{to(5432, "idle-expire:after=2s"), to(5434, "half-open:peer=rebooted,at=match=kill", "delay:by=20ms")}})
		client, server := w.open()
		healthy(t, "before its time", client, server)
		otherClient, otherServer := w.openTo(other, at)
		healthy(t, "the other before its time", otherClient, otherServer)

		says(t, "half-open", otherClient.Send("kill"), otherClient.Recv())("4", "ECONNRESET")
		time.Sleep(2100 * time.Millisecond) // the pause that the fault waits for; it may be longer
		says(t, "idle", client.Send("ping"), client.Recv())("4", "ECONNRESET")
		after()
		s := run.Stats()
		if !lab.Eventually(func() bool {
			s = run.Stats()
			return s.Rules[0].Faults[0].Fired == 1 && s.Rules[1].Faults[0].Fired == 1
		}) {
			t.Errorf("%+v", s)
		}
		for i, r := range s.Rules {
			if r.Flows != 1 || r.Chosen != 1 {
				t.Errorf("rule %d: %+v", i, r)
			}
		}
	})
}
