package integration

import (
	"testing"
	"time"

	"github.com/faultctl/faultctl/lab"
)

// TestHalfOpenRebooted checks that a reader notices nothing, and that a writer's
// first write succeeds and its next call fails, on a new connection and on one
// that was already open.
func TestHalfOpenRebooted(t *testing.T) {
	everywhere(t, func(t *testing.T, w *testbed) {
		bystander := w.bystander()
		oldClient, oldServer := w.open()
		healthy(t, "before", oldClient, oldServer)
		cap := w.capture()
		run := w.inject("half-open:peer=rebooted")
		reader, _ := w.open()
		newClient, newServer := w.open()
		for name, pair := range map[string][2]*lab.App{"new": {newClient, newServer}, "open before": {oldClient, oldServer}} {
			client, server := pair[0], pair[1]
			says(t, name+" client", client.Send("hello"), client.Recv(), client.Send("x"))("5", "ECONNRESET", "EPIPE")
			server.Timeout(100 * time.Millisecond)
			says(t, name+" server", server.Recv())("EAGAIN") // the server received nothing
		}
		reader.Timeout(200 * time.Millisecond)
		says(t, "reader", reader.Recv())("EAGAIN")
		w.checkAnswers(cap)
		run.stop()
		bystander()
		client, server := w.open()
		healthy(t, "after", client, server)
	})
}

// TestHalfOpenCrashed checks that TCP takes silence for loss: it retransmits with
// a window of one segment, and does not wait for a window to open.
func TestHalfOpenCrashed(t *testing.T) {
	everywhere(t, func(t *testing.T, w *testbed) {
		w.inject("half-open:peer=crashed")
		client, server := w.open()
		says(t, "client", client.Send("hello"))("5")
		var i lab.Info
		if !lab.Eventually(func() bool {
			i, _ = client.Info()
			return i.TotalRetrans >= 3
		}) {
			t.Errorf("no retransmissions: %+v", i)
		}
		if i.Cwnd != 1 || i.Unacked == 0 || i.Probes != 0 || i.Notsent != 0 || i.State != established {
			t.Errorf("%+v, want one unacknowledged segment, a congestion window of 1 and no window probes", i)
		}
		client.Timeout(50 * time.Millisecond)
		server.Timeout(50 * time.Millisecond)
		says(t, "both", client.Recv(), server.Recv())("EAGAIN", "EAGAIN")
	})
}

// TestHalfOpenDown checks that a peer that returns after a while answers the next
// retransmission.
func TestHalfOpenDown(t *testing.T) {
	everywhere(t, func(t *testing.T, w *testbed) {
		w.inject("half-open:peer=rebooted,down=500ms")
		client, _ := w.open()
		says(t, "client", client.Send("hello"), client.Recv(), client.Send("x"))("5", "ECONNRESET", "EPIPE")
		sent, told := client.Calls()[1], client.Calls()[2]
		if took := told.Start.Add(told.Took).Sub(sent.Start); took < 500*time.Millisecond {
			t.Errorf("the RST came after %v, want not before 500ms", took)
		}
	})
}

// TestHalfOpenClosed checks the same for a peer whose FIN was lost.
func TestHalfOpenClosed(t *testing.T) {
	everywhere(t, func(t *testing.T, w *testbed) {
		w.inject("half-open:peer=closed,at=fin")
		client, server := w.open()
		healthy(t, "before", client, server)
		server.Close()
		client.Timeout(100 * time.Millisecond)
		says(t, "client", client.Recv(), client.Send("hello"))("EAGAIN", "5")
		client.Timeout(time.Minute)
		says(t, "client", client.Recv(), client.Send("x"))("ECONNRESET", "EPIPE")
	})
}
