package outcometest

import (
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/internal/minirun"
	"github.com/faultctl/faultctl/injector/internal/tracepoint"
	"github.com/faultctl/faultctl/lab"
	"testing"
	"time"
)

// TestTold holds that a program which only waits, and is told by the call that
// waits, has felt a reset, by the word of the kernel's tracepoints.
func TestTold(t *testing.T) {
	trace, err := tracepoint.Open(tracepoint.ReceivedReset, tracepoint.ErrorReported, tracepoint.CallFailed)
	if err != nil {
		t.Skip(err)
	}
	defer trace.Close()
	w := newWorld(t, "client", false, false, "reset:at=age=300ms")
	w.connect()
	w.exchange()
	w.expect(w.client.Recv(), "ECONNRESET")
	if !lab.Eventually(w.watcher.struck) { // the tap is a little later than the kernel
		t.Fatal("nothing was struck")
	}
	var sock uint64
	told := lab.Eventually(func() bool {
		done := false
		trace.Read(func(ev tracepoint.Event) {
			switch {
			case ev.Kind == tracepoint.ReceivedReset && ev.Remote == w.service:
				sock = ev.Sock
				w.watcher.kernel(faults.Client, outcome.ReceivedReset)
			case ev.Kind == tracepoint.CallFailed && ev.Sock == sock && sock != 0:
				w.watcher.kernel(faults.Client, outcome.ToldByCall)
				done = true
			}
		})
		return done
	})
	if !told {
		t.Error("nothing was told")
	}
	o := w.watcher.tr.Outcome(time.Since(w.watcher.start), faults.Client)
	if v := outcome.Judge(outcome.Case{Outcome: o, Command: outcome.Succeeded}); v != outcome.Survived || o.Felt.Evidence != outcome.ToldByCall {
		t.Errorf("%s: %+v", v, o)
	}
}

// TestProbeAfter holds that a probe after the strike tells whether an idle end
// elsewhere has accepted a RST: one that has answers with a RST, one behind a
// firewall that drops RSTs with an ACK.
func TestProbeAfter(t *testing.T) {
	for _, firewall := range []bool{false, true} {
		for _, v6 := range []bool{false, true} {
			if v6 && !lab.IPv6() {
				continue
			}
			w := newWorld(t, "router", v6, true, "reset:at=age=300ms")
			if firewall {
				w.block()
			}
			own, _, err := injector.Sign(w.Router.NS)
			if err != nil {
				t.Fatal(err)
			}
			raw := minirun.NewRaw(t, w.Router.NS, own)
			w.connect()
			w.exchange()
			lab.Eventually(w.watcher.struck)
			time.Sleep(100 * ms)
			w.watcher.mu.Lock()
			at := w.watcher.tr.Last + 100*ms
			ack := w.watcher.tr.Half[faults.Original].Acked
			f := packet.Fields{Src: w.service, Dst: w.client.Local(), TTL: 64, DF: true, Flags: packet.ACK, Window: 1000,
				Seq: ack.Add(1<<31 - 5), Ack: w.watcher.tr.Half[faults.Original].Next}
			pkt := f.Append(nil, []byte{0})
			s, _ := packet.Parse(pkt)
			w.watcher.last = max(w.watcher.last, at)
			w.watcher.tr.Forged(w.watcher.last, faults.Reply, s)
			w.watcher.mu.Unlock()
			if err := raw.Send(pkt); err != nil {
				t.Fatal(err)
			}
			time.Sleep(200 * ms)
			w.watcher.mu.Lock()
			o := w.watcher.tr.Outcome(time.Since(w.watcher.start), faults.Client)
			w.watcher.mu.Unlock()
			want := outcome.Nobody
			if firewall {
				want = outcome.AnsweredProbe
			}
			if o.Accepted.Evidence != want {
				t.Errorf("IPv6 %v, firewall %v: accepted %s (%s)", v6, firewall, o.Accepted.Answer, o.Accepted.Evidence)
				for _, line := range w.watcher.seen {
					t.Log(line)
				}
			}
		}
	}
}
