package integration

import (
	"slices"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/lab"
)

// TestIdleExpire checks that a busy connection survives and that only its first
// packet enters user space. On a connection that was idle for too long, the end
// that sends next gets a RST, and the other end gets nothing until it sends
// itself.
func TestIdleExpire(t *testing.T) {
	everywhere(t, func(t *testing.T, w *testbed) {
		bystander := w.bystander()
		oldClient, oldServer := w.open()
		healthy(t, "before", oldClient, oldServer)
		cap := w.capture()
		run := w.inject("idle-expire:after=2s")
		client, server := w.busy(run, 400*time.Millisecond, 2*time.Second)
		pause(2100 * time.Millisecond)
		for name, pair := range map[string][2]*lab.App{"new": {client, server}, "open before": {oldClient, oldServer}} {
			client, server := pair[0], pair[1]
			before := retransmitted(t, server)
			says(t, name+" client", client.Send("hello"), client.Recv(), client.Send("x"), client.Recv())("5", "ECONNRESET", "EPIPE", "EOF")
			if i, err := server.Info(); err != nil || i.State != established || i.TotalRetrans != before {
				t.Errorf("%s server: %+v, %v; it was not to be told", name, i, err)
			}
			says(t, name+" server", server.Send("hello"), server.Recv(), server.Send("x"))("5", "ECONNRESET", "EPIPE")
		}
		if !lab.Eventually(func() bool {
			return w.fired(faults.SentRST, faults.Client) && w.fired(faults.SentRST, faults.Server)
		}) {
			t.Error("no event says so")
		}
		w.checkAnswers(cap)
		run.stop()
		bystander()
		client, server = w.open()
		healthy(t, "after", client, server)
	})
}

// busy opens a connection that sends regularly for longer than the limit, and
// checks that it survives and that only its first packet enters user space. If
// the machine stalled for so long that the connection may have been idle for the
// limit, or if its SYN was retransmitted, it tries again.
func (w *testbed) busy(run *running, every, limit time.Duration) (client, server *lab.App) {
	w.t.Helper()
	for range 10 {
		before, spoke := run.Stats().Diverted, time.Now()
		client, server = w.open()
		client.Timeout(3 * limit)
		server.Timeout(3 * limit)
		var lived, idle bool
		for begun := spoke; !idle && time.Since(begun) < limit+2*every; pause(every) {
			start := time.Now()
			lived = client.Send("ping") == "4" && server.Recv() == "ping" && server.Send("pong") == "4" && client.Recv() == "pong"
			idle = time.Since(spoke) >= limit // perhaps
			spoke = start
		}
		if idle {
			continue
		}
		client.Timeout(time.Minute)
		server.Timeout(time.Minute)
		if !lived {
			w.t.Errorf("a busy connection broke: %v", client.Calls())
		}
		if got := run.Stats().Diverted - before; got != 1 {
			w.t.Errorf("%d packets of a busy connection entered user space, want only the first", got)
		}
		return client, server
	}
	w.t.Fatal("the machine stands still too often")
	return nil, nil
}

// pause leaves a connection idle: the test depends on the time.
func pause(d time.Duration) { time.Sleep(d) }

// checkAnswers compares each RST that the client got with the segment that
// provoked it: shape B, from a device.
func (w *testbed) checkAnswers(cap *lab.Capture) {
	w.t.Helper()
	if w.at == atClient {
		return // a segment dropped on the client's own host was never captured
	}
	answer := func(s lab.Captured) bool { return s.Flags().Has(packet.RST) && s.SrcAddrPort() == w.service }
	found := cap.Wait(w.service.Port(), func(segs []lab.Captured) bool { return slices.ContainsFunc(segs, answer) })
	segs := cap.Segments(w.service.Port())
	for i, s := range segs {
		if !answer(s) {
			continue
		}
		var provoked *lab.Captured
		for j := i - 1; j >= 0 && provoked == nil; j-- {
			if segs[j].SrcAddrPort() == s.DstAddrPort() {
				provoked = &segs[j]
			}
		}
		if provoked == nil {
			w.t.Error("a RST that nothing provoked")
			continue
		}
		_, _, ts := s.Timestamps()
		if s.Flags() != packet.RST || s.Seq() != provoked.Ack() || s.Ack() != 0 || s.Window() != 0 || ts || s.ID() != 0 || !s.ChecksumOK() {
			w.t.Errorf("RST of the wrong shape:\n%s", lab.Conversation(segs, w.service))
		}
	}
	if !found {
		w.t.Errorf("no RST captured:\n%s", lab.Conversation(segs, w.service))
	}
}

// TestIdleExpireThen checks what each kind of expiry does to both ends.
func TestIdleExpireThen(t *testing.T) {
	for then, want := range map[string]struct{ client, server []string }{
		"silent":      {client: []string{"5", "EAGAIN"}, server: []string{"5", "EAGAIN"}},
		"rst-both":    {client: []string{"ECONNRESET", "EPIPE"}, server: []string{"ECONNRESET", "EPIPE"}},
		"fin-both":    {client: []string{"EOF", "5", "EPIPE"}, server: []string{"EOF", "5", "EPIPE"}},
		"client-only": {client: []string{"ECONNRESET", "EPIPE"}, server: []string{"5", "EAGAIN"}},
		"inside-only": {client: []string{"5", "ECONNRESET", "EPIPE"}, server: []string{"5", "EAGAIN"}},
	} {
		t.Run(then, func(t *testing.T) {
			everywhere(t, func(t *testing.T, w *testbed) {
				w.inject("idle-expire:after=2s,then=" + then)
				client, server := w.open()
				healthy(t, "before", client, server)
				pause(2100 * time.Millisecond)
				sides := []*lab.App{server, client} // the server sends first
				for i, expect := range [][]string{want.server, want.client} {
					says(t, []string{"server", "client"}[i], try(sides[i], expect)...)(expect...)
				}
			})
		})
	}
}

// try makes the calls whose results are expected: an end that expects to notice
// the end by reading reads first, one that expects a number sends.
func try(a *lab.App, expect []string) []string {
	var got []string
	for _, e := range expect {
		switch e {
		case "5":
			got = append(got, a.Send("hello"))
		case "EPIPE":
			// The RST for the previous segment may still be in flight.
			lab.Eventually(func() bool { return a.Send("x") == "EPIPE" })
			got = append(got, a.Send("x"))
		case "EAGAIN":
			a.Timeout(300 * time.Millisecond)
			got = append(got, a.Recv())
		default:
			got = append(got, a.Recv())
		}
	}
	return got
}

// TestIdleExpireRefresh checks which segments keep a flow alive: one end sends
// every 0.7 s for longer than the limit, and then the client finds out whether
// that counted.
func TestIdleExpireRefresh(t *testing.T) {
	for _, c := range []struct {
		name, spec string
		speaks     faults.Side
		word       string
		alive      bool
	}{
		{"client refreshes client", "refresh=client,keepalives=ignore", faults.Client, "tick", true},
		{"ACKs of the client refresh client", "refresh=client", faults.Server, "tick", true},
		{"server does not refresh client", "refresh=client,keepalives=ignore", faults.Server, "tick", false},
		{"server refreshes server", "refresh=server,keepalives=ignore", faults.Server, "tick", true},
		{"client does not refresh server", "refresh=server,keepalives=ignore", faults.Client, "tick", false},
		{"data refreshes data", "refresh=data", faults.Client, "tick", true},
		{"one byte is a keepalive", "keepalives=ignore", faults.Client, "x", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, w *testbed) {
				w.inject("idle-expire:after=3s," + c.spec)
				client, server := w.open()
				says(t, "first", client.Send("ping"), server.Recv())("4", "ping")
				from, to := client, server
				if c.speaks == faults.Server {
					from, to = server, client
				}
				to.Timeout(200 * time.Millisecond)
				for range 5 {
					pause(700 * time.Millisecond)
					from.Send(c.word)
					to.Recv()
				}
				if c.alive {
					healthy(t, "refreshed", client, server)
					return
				}
				client.Timeout(50 * time.Millisecond)
				if !lab.Eventually(func() bool {
					client.Send("ping")
					client.Recv()
					return slices.ContainsFunc(client.Calls(), func(c lab.Call) bool { return c.Result == "ECONNRESET" })
				}) {
					t.Errorf("the connection lives: %v", client.Calls())
				}
			})
		})
	}
}
