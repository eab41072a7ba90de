package integration

import (
	"testing"

	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/lab"
)

// TestReset checks that exactly the requested ends are reset, at the first
// attempt, on a new connection and on one that was already open.
func TestReset(t *testing.T) {
	for _, hit := range []string{"both", "client", "server"} {
		t.Run(hit, func(t *testing.T) {
			everywhere(t, func(t *testing.T, w *testbed) {
				bystander := w.bystander()
				oldClient, oldServer := w.open()
				healthy(t, "before", oldClient, oldServer)
				run := w.inject("reset:hit=" + hit)
				newClient, newServer := w.open()
				for name, pair := range map[string][2]*lab.App{"new": {newClient, newServer}, "open before": {oldClient, oldServer}} {
					client, server := pair[0], pair[1]
					challenges := w.challenges()
					says(t, name+" client", client.Send("hello"))("5")
					if hit != "server" {
						says(t, name+" client", client.Recv(), client.Recv(), client.Send("x"))("ECONNRESET", "EOF", "EPIPE")
					}
					if hit != "client" {
						says(t, name+" server", server.Recv(), server.Recv(), server.Send("x"))("ECONNRESET", "EOF", "EPIPE")
					} else if i, err := server.Info(); err != nil || i.State != established {
						t.Errorf("%s: the server is in state %d, %v; it was not to be touched", name, i.State, err)
					}
					if got := w.challenges(); got != challenges {
						t.Errorf("%s: %d challenge ACKs", name, got-challenges)
					}
				}
				run.stop()
				bystander()
				client, server := w.open()
				healthy(t, "after", client, server)
			})
		})
	}
}

const established = 1 // TCP_ESTABLISHED

func (w *testbed) challenges() uint64 {
	w.t.Helper()
	var sum uint64
	for _, n := range []*lab.Node{w.Client, w.Server} {
		c, err := n.Counter("TcpExtTCPChallengeACK")
		if err != nil {
			w.t.Fatal(err)
		}
		sum += c
	}
	return sum
}

// TestResetInSYNSENT checks that a connect is refused.
func TestResetInSYNSENT(t *testing.T) {
	for _, at := range []string{"syn", "synack"} {
		t.Run(at, func(t *testing.T) {
			everywhere(t, func(t *testing.T, w *testbed) {
				w.inject("reset:hit=client,at=" + at)
				says(t, "client", w.client().Connect(w.service))("ECONNREFUSED")
			})
		})
	}
}

// TestResetShapes checks that forged RSTs are, byte for byte, as a kernel sends
// them, with and without timestamps, and with sequence numbers that are about to
// wrap.
func TestResetShapes(t *testing.T) {
	for _, stamps := range []string{"1", "0"} {
		for _, shape := range []string{"a", "b"} {
			t.Run("timestamps="+stamps+"/"+shape, func(t *testing.T) {
				everywhere(t, func(t *testing.T, w *testbed) {
					for _, n := range []*lab.Node{w.Client, w.Server} {
						if err := n.Sysctl("net/ipv4/tcp_timestamps", stamps); err != nil {
							t.Fatal(err)
						}
					}
					cap := w.capture()
					w.inject("reset:hit=client,at=response,shape=" + shape)
					client := w.client()
					if err := client.StartAt(0xfffffffd); err != nil {
						t.Fatal(err)
					}
					if got := client.Connect(w.service); got != "ok" {
						t.Fatal(got)
					}
					server, err := w.ln.Accept()
					if err != nil {
						t.Fatal(err)
					}
					defer server.Close()
					says(t, "call", client.Send("hello"), server.Recv(), server.Send("hi"), client.Recv())("5", "hello", "2", "ECONNRESET")
					if w.at == loopback || w.at == atClient {
						return // a segment that is rewritten on arrival was captured before that
					}
					var rst lab.Captured
					if !cap.Wait(w.service.Port(), func(segs []lab.Captured) bool {
						for _, s := range segs {
							if s.Flags().Has(packet.RST) {
								rst = s
								return true
							}
						}
						return false
					}) {
						t.Fatal("no RST was captured")
					}
					checkShape(t, shape, rst, cap.Segments(w.service.Port()), stamps == "1")
				})
			})
		}
	}
}

// checkShape compares a captured RST with the segments of its connection.
func checkShape(t *testing.T, shape string, rst lab.Captured, segs []lab.Captured, stamped bool) {
	t.Helper()
	var last lab.Captured // the previous one of the same side
	for _, s := range segs {
		if s.SrcAddrPort() == rst.SrcAddrPort() && !s.Flags().Has(packet.RST) && s.SeqLen()+uint32(s.Flags()) > 0 {
			last = s
		}
	}
	fail := func(what string, got, want any) {
		t.Helper()
		if got != want {
			t.Errorf("shape %s: %s is %v, want %v", shape, what, got, want)
		}
	}
	if !rst.ChecksumOK() {
		t.Error("the checksum is wrong")
	}
	_, _, ts := rst.Timestamps()
	fail("payload", rst.PayloadLen(), 0)
	fail("sequence number", rst.Segment.Seq(), last.End())
	switch shape {
	case "a":
		fail("flags", rst.Flags(), packet.RST|packet.ACK)
		fail("timestamps", ts, stamped)
		fail("window", rst.Window(), last.Window())
		fail("TTL", rst.TTL(), last.TTL())
		if rst.Version() == 4 && last.ID() != 0 { // a SYN-ACK has none
			fail("identification", rst.ID(), last.ID()+1)
		}
		fail("flow label", rst.FlowLabel(), last.FlowLabel())
	case "b":
		fail("flags", rst.Flags(), packet.RST)
		fail("timestamps", ts, false)
		fail("window", rst.Window(), uint16(0))
		fail("acknowledgment", rst.Ack(), packet.Seq(0))
		fail("header length", rst.HeaderLen(), map[int]int{4: 40, 6: 60}[rst.Version()])
		if rst.Version() == 4 {
			fail("identification", rst.ID(), uint16(0))
			fail("DF", rst.DF(), true)
		}
	}
}
