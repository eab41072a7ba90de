package integration

import (
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/lab"
)

// TestDisorder checks that duplicated and reordered segments arrive as such at
// the receiver's TCP, which corrects it.
func TestDisorder(t *testing.T) {
	for spec, counter := range map[string]string{
		"duplicate:chance=20%,dir=client":                   "TcpExtTCPDSACKOldSent",
		"reorder:chance=2%,by=5ms,dir=client":               "TcpExtTCPOFOQueue",
		"delay:by=10ms,jitter=5ms,reorder=true,dir=client":  "TcpExtTCPOFOQueue",
		"corrupt:what=checksum,chance=2%,dir=client":        "TcpInCsumErrors",
		"loss:chance=6%,burst-length=2,dir=client":          "TcpRetransSegs",
		"slice:size=100,dir=client":                         "TcpInSegs",
		"throttle:rate=50mbit,burst=10k,queue=50ms":         "TcpInSegs",
		"delay:by=5ms,jitter=5ms,distribution=pareto":       "TcpInSegs",
		"corrupt:what=header,chance=1%,dir=server":          "TcpInSegs",
		"idle-expire:after=10s;delay:by=5ms;loss:chance=4%": "TcpRetransSegs",
	} {
		t.Run(strings.ReplaceAll(spec, ":", "/"), func(t *testing.T) {
			everywhere(t, func(t *testing.T, w *testbed) {
				w.narrowLoopback()
				run := w.inject(strings.Split(spec, ";")...)
				before := w.counters(counter)[counter]
				pour(t, w.streams(1, 0), 300*segment)
				rose := w.counters(counter)[counter] - before
				least := uint64(1)
				if strings.HasPrefix(spec, "slice") {
					least = 4000 // pieces of 100 bytes
				}
				if rose < least {
					t.Errorf("%s rose by %d", counter, rose)
				}
				if s := run.Stats(); s.Overruns != 0 || s.Rules[0].Faults[0].Diverted == 0 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// TestDamage checks that a corrupted payload with a correct checksum reaches the
// application.
func TestDamage(t *testing.T) {
	everywhere(t, func(t *testing.T, w *testbed) {
		client, server := w.open()
		w.inject("corrupt:what=payload,chance=100%,dir=client")
		says(t, "send", client.Send("hello"))("5")
		if got := server.Recv(); len(got) != 5 || got == "hello" {
			t.Errorf("%q arrives", got)
		}
		says(t, "the other way", server.Send("hello"), client.Recv())("5", "hello")
	})
}

// TestMTUHole checks that small segments pass and large ones are dropped
// silently.
func TestMTUHole(t *testing.T) {
	everywhere(t, func(t *testing.T, w *testbed) {
		w.narrowLoopback()
		w.inject("mtu-hole:above=1400")
		client, server := w.open()
		healthy(t, "small", client, server)
		server.Timeout(300 * time.Millisecond)
		says(t, "large", client.Send(strings.Repeat("x", 4000)), server.Recv())("4000", "EAGAIN")
		if !lab.Eventually(func() bool { i, err := client.Info(); return err == nil && i.TotalRetrans > 0 }) {
			t.Error("nothing is sent again")
		}
	})
}

// TestPartition checks that nothing arrives for a while, and then everything
// does.
func TestPartition(t *testing.T) {
	everywhere(t, func(t *testing.T, w *testbed) {
		client, server := w.open()
		healthy(t, "before", client, server)
		w.inject("partition:for=2s")
		server.Timeout(200 * time.Millisecond)
		says(t, "cut", client.Send("hello"), server.Recv())("5", "EAGAIN")
		server.Timeout(time.Minute)
		says(t, "healed", server.Recv())("hello")
		if i, err := client.Info(); err != nil || i.TotalRetrans == 0 {
			t.Errorf("%+v, %v: it was not cut", i, err)
		}
	})
}

// TestSliceOnSockets checks that a reader gets a message in pieces.
func TestSliceOnSockets(t *testing.T) {
	everywhere(t, func(t *testing.T, w *testbed) {
		client, server := w.open()
		w.inject("slice:size=2,gap=1s,dir=client") // long enough for the reader on a busy machine
		says(t, "send", client.Send("hello"))("5")
		says(t, "pieces", server.Recv(), server.Recv(), server.Recv())("he", "ll", "o")
		if !lab.Eventually(func() bool { return w.fired(faults.Rewritten, faults.Server) }) {
			t.Error("no event says so")
		}
	})
}
