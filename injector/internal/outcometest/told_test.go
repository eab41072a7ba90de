package outcometest

import (
	"fmt"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/minirun"
	"github.com/faultctl/faultctl/injector/internal/tracepoint"
	"github.com/faultctl/faultctl/lab"
)

// TestTold checks that a program which only waits, and is told by the call that
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

// TestProbeAfterwards checks why the engine sends no probe to an idle end elsewhere after it
// has sent it a RST (docs/design/outcome.md). The dead end answers the probe with a RST,
// which resets the other end if it gets through; and a stateful firewall at the end
// drops the probe once it has forgotten the connection.
func TestProbeAfterwards(t *testing.T) {
	const stateful = "nft add table inet fw; nft add chain inet fw c '{ type filter hook input priority 0; policy drop; }'; nft add rule inet fw c ct state established,related accept; " +
		"echo 1 > /proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close" // seconds, in this namespace; 10 by default
	for _, c := range []struct {
		name, client string // its firewall
		probes       bool
		server       string // what its call returns
	}{
		{"no probe", "", false, "EAGAIN"},
		{"a probe", "", true, "ECONNRESET"},
		{"a probe, and a stateful firewall", stateful, true, "EAGAIN"},
	} {
		for _, v6 := range []bool{false, true} {
			if v6 && !lab.IPv6() {
				continue
			}
			t.Run(fmt.Sprintf("%s/IPv6 %v", c.name, v6), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, "router", v6, true, "reset:at=age=300ms,hit=client")
				if c.client != "" {
					minirun.Shell(t, w.Client.NS, c.client)
				}
				raw := minirun.NewRaw(t, w.Router.NS, 0)
				used(w)
				if !lab.Eventually(w.watcher.struck) {
					t.Fatal("nothing was struck")
				}
				time.Sleep(100 * ms)
				w.stop()
				time.Sleep(wait)
				if c.probes { // as the server's keepalive
					half := &w.watcher.tr.Half
					f := packet.Fields{Src: w.service, Dst: w.client.Local(), TTL: 64, DF: true, Flags: packet.ACK, Window: 1000,
						Seq: half[faults.Reply].Next.Add(1<<32 - 1), Ack: half[faults.Original].Next}
					if err := raw.Send(f.Append(nil, nil)); err != nil {
						t.Fatal(err)
					}
				}
				w.server.Timeout(500 * ms)
				w.expect(w.server.Recv(), c.server)
			})
		}
	}
}
