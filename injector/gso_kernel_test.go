package injector

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/nft"
	"github.com/faultctl/faultctl/lab"
	"github.com/vishvananda/netlink"
)

func addrsOf(n *lab.Node) []netip.Addr {
	if !n.V6.IsValid() {
		return []netip.Addr{n.V4}
	}
	return []netip.Addr{n.V4, n.V6}
}

// pourAcross sends a stream from the lab's client to its server, to the end.
func pourAcross(l *lab.Lab, at netip.Addr) error {
	const size = 400_001
	ln, service, err := l.Server.Listen(netip.AddrPortFrom(at, 5432), 1)
	if err != nil {
		return err
	}
	defer ln.Close()
	c, err := l.Client.Client(at)
	if err != nil {
		return err
	}
	defer c.Close()
	if got := c.Connect(service); got != "ok" {
		return errors.New("connect: " + got)
	}
	s, err := ln.Accept()
	if err != nil {
		return err
	}
	defer s.Close()
	sent := make(chan error, 1)
	go func() {
		err := c.Pour(size)
		c.CloseWrite()
		sent <- err
	}()
	return errors.Join(s.Drain(size), <-sent)
}

// TestGSOSegmentsMatchKernel takes what a real TCP sends to where it would be cut
// up by us, hands it back, and compares what the kernel makes of it byte by byte.
func TestGSOSegmentsMatchKernel(t *testing.T) {
	l, err := lab.New()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, at := range addrsOf(l.Server) {
		t.Run(at.String(), func(t *testing.T) {
			cfg := Config{NetNS: l.Client.NS, Rules: []Rule{ruleOf(fake(faults.Diversion{All: true, Whole: true, Holds: true})[0])}}
			qs, err := nfqueue.Open(l.Client.NS, 0, 1, cfg.copies())
			if err != nil {
				t.Fatal(err)
			}
			q := qs[0]
			defer q.Close()
			if q.GSONumber() == 0 {
				t.Fatal("no queue for GSO packets")
			}
			a, _, err := nft.Install(l.Client.NS, cfg.compile(&place{table: "faultctl_1", queue: q.Number(), gso: q.GSONumber()}, nil))
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			done := make(chan error, 1)
			go func() { done <- pourAcross(l, at) }()

			var supers, pieces [][]byte
			var pkts [nfqueue.BatchSize]nfqueue.Packet
			for over := false; !over; {
				r, err := q.Receive(pkts[:], 20*time.Millisecond)
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range pkts[:r.N] {
					v := nfqueue.Verdict{ID: p.ID, Again: p.ID.InGSO()} // all, so that they come in their order
					switch {
					case p.GSO:
						supers = append(supers, bytes.Clone(p.Bytes))
					case p.Hook == localOut && !v.Again:
						pieces = append(pieces, bytes.Clone(p.Bytes))
					}
					q.Verdict(v)
				}
				if err := q.Flush(); err != nil {
					t.Fatal(err)
				}
				select {
				case err := <-done:
					if err != nil {
						t.Fatal(err)
					}
					over = true
				default:
				}
			}
			if err := a.Remove(); err != nil {
				t.Fatal(err)
			}
			compared := 0
			for _, b := range supers {
				s, err := packet.Parse(b)
				if err != nil {
					t.Fatal(err)
				}
				for len(pieces) > 0 && !begins(t, pieces[0], s) {
					pieces = pieces[1:]
				}
				size := 0
				for from := 0; from < s.PayloadLen(); from += size {
					if len(pieces) == 0 {
						t.Fatalf("the kernel's pieces of %d bytes are missing", s.PayloadLen())
					}
					piece, err := packet.Parse(pieces[0])
					if err != nil {
						t.Fatal(err)
					}
					if from == 0 {
						size = piece.PayloadLen()
					}
					if got := s.AppendPart(nil, from, size); !bytes.Equal(got, pieces[0]) {
						t.Fatalf("from byte %d of %d\n%x\nwant what the kernel makes of it\n%x", from, s.PayloadLen(), got[:min(len(got), 80)], pieces[0][:min(len(pieces[0]), 80)])
					}
					pieces = pieces[1:]
					compared++
				}
			}
			if compared < 20 {
				t.Errorf("%d segments compared: the host did not send what stands for several", compared)
			}
			t.Logf("%d packets that stood for %d segments", len(supers), compared)
		})
	}
}

// begins reports whether the segment has the first byte of the packet.
func begins(t *testing.T, pkt []byte, whole packet.Segment) bool {
	t.Helper()
	s, err := packet.Parse(pkt)
	if err != nil {
		t.Fatal(err)
	}
	return s.Seq() == whole.Seq() && s.PayloadLen() > 0
}

// TestGSOQueuesKeepFlowsTogether checks that with several queues what a
// connection's local end sends reaches the worker that has the other direction.
func TestGSOQueuesKeepFlowsTogether(t *testing.T) {
	l, err := lab.New()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const pairs = 12 // each has a hash of its own
	eth0, err := l.Server.Netlink().LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	var ats []netip.Addr
	for at := l.Server.V4.Next(); len(ats) < pairs; at = at.Next() {
		addr, err := netlink.ParseAddr(at.String() + "/24")
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Server.Netlink().AddrAdd(eth0, addr); err != nil {
			t.Fatal(err)
		}
		ats = append(ats, at)
	}
	inj, stop := startInjector(t, l.Client.NS, false, Config{Queues: 4, Rules: []Rule{ruleOf(model(t, "delay", "by", "1ms"))}})
	for _, at := range ats {
		if err := pourAcross(l, at); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if s := inj.Stats(); s.Rules[0].Flows != pairs || s.Overruns != 0 || s.Unsent != 0 {
		t.Errorf("%+v, want %d connections, each once", s, pairs)
	}
}
