package integration

import (
	"testing"
	"time"

	"github.com/faultctl/faultctl/internal/words"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/lab"
)

// TestStallHoldsAnswers checks that a server that has stopped reading does not
// answer what it was sent, on a new connection and on one that was already open.
// The answer arrives when the stall is over, complete, and nothing is sent twice.
func TestStallHoldsAnswers(t *testing.T) {
	const stall = time.Second
	everywhere(t, func(t *testing.T, w *testbed) {
		oldClient, oldServer := w.open()
		healthy(t, "before", oldClient, oldServer)
		bystander := w.bystander()
		w.inject("stall:for=" + words.ShortDuration(stall))
		newClient, newServer := w.open()
		idle, _ := w.open()
		for name, pair := range map[string][2]*lab.App{"new": {newClient, newServer}, "open before": {oldClient, oldServer}} {
			client, server := pair[0], pair[1]
			before, began := retransmitted(t, client, server), time.Now()
			says(t, name, client.Send("ping"), server.Recv(), server.Send("pong"), client.Recv())("4", "ping", "4", "pong")
			if took := time.Since(began); took < stall {
				t.Errorf("%s: the answer came after %v, and the stall takes %v", name, took, stall)
			}
			if !w.heldUp(client) {
				t.Errorf("%s: no event had said that the client is held up when its answer came", name)
			}
			if after := retransmitted(t, client, server); after != before {
				t.Errorf("%s: %d segments were sent twice", name, after-before)
			}
			for _, a := range []*lab.App{client, server} {
				if i, err := a.Info(); err != nil || i.Duplicates != 0 {
					t.Errorf("%s: %+v, %v: something arrived twice", name, i, err)
				}
			}
			healthy(t, name+", afterwards", client, server)
		}
		bystander()
		if w.heldUp(idle) {
			t.Error("a client that sent nothing is reported as held up")
		}
	})
}

// TestStallForGood checks that nothing that the program on a stalled server sends
// reaches the client, including its close, and that the server's kernel does not
// give up: its window probes are answered.
func TestStallForGood(t *testing.T) {
	everywhere(t, func(t *testing.T, w *testbed) {
		w.inject("stall")
		client, server := w.open()
		silent, _ := w.open()
		says(t, "both", client.Send("ping"), server.Recv(), server.Send("pong"), server.CloseWrite())("4", "ping", "4", "ok")
		if !lab.Eventually(func() bool { return w.heldUp(client) }) {
			t.Error("no event says that the client is held up")
		}
		if i, err := server.Info(); err != nil || i.Notsent != 5 || i.Unacked != 0 || i.TotalRetrans != 0 || i.Probes > 1 {
			t.Errorf("%+v, %v: want an answer and a FIN that wait for a window, and probes that are answered", i, err)
		}
		client.Timeout(100 * time.Millisecond)
		says(t, "client", client.Recv())("EAGAIN")
		if i, err := client.Info(); err != nil || i.State != established || i.DataIn != 0 || i.Unacked != 0 {
			t.Errorf("%+v, %v: want an open connection on which all is acknowledged and nothing was said", i, err)
		}
		if w.heldUp(silent) {
			t.Error("a client that sent nothing is reported as held up")
		}
	})
}

// TestStallMidStream checks that a stream from an end that has stopped reading
// continues, that no event reports anybody as held up by that, and that the next
// request is not answered.
func TestStallMidStream(t *testing.T) {
	everywhere(t, func(t *testing.T, w *testbed) {
		for spec, side := range map[string]faults.Side{"stall:at=response": faults.Server, "stall:at=request,side=client": faults.Client} {
			run := w.inject(spec)
			client, server := w.open()
			stalled, peer := client, server
			if side == faults.Server {
				says(t, spec, client.Send("ping"), server.Recv())("4", "ping")
				stalled, peer = server, client
			}
			const bytes = 1 << 20
			poured := make(chan error, 1)
			go func() { poured <- stalled.Pour(bytes) }()
			if err := peer.Drain(bytes); err != nil {
				t.Errorf("%s: %v", spec, err)
			}
			if err := <-poured; err != nil {
				t.Errorf("%s: %v", spec, err)
			}
			if w.heldUp(client) {
				t.Errorf("%s: an end that only reads is reported as held up", spec)
			}
			says(t, spec, peer.Send("ping"), stalled.Recv(), stalled.Send("pong"))("4", "ping", "4")
			if !lab.Eventually(func() bool { return w.heldUp(client) }) {
				t.Errorf("%s: no event says that the %v is held up", spec, side.Other())
			}
			peer.Timeout(100 * time.Millisecond)
			says(t, spec, peer.Recv())("EAGAIN")
			run.stop()
		}
	})
}

// heldUp reports whether an event said that the client, or its server, is held up
// by a peer that does not read.
func (w *testbed) heldUp(client *lab.App) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ev := range w.events {
		if ev.Kind == injector.Fired && ev.Action == faults.Held && ev.Flow.Client == client.Local().String() {
			return true
		}
	}
	return false
}
