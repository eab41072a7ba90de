package main

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/lab"
	"github.com/google/nftables"
)

const (
	resetPort = 6402
	idlePort  = 6403

	starts     = 20
	resets     = 300
	idlers     = 50
	idleAfter  = 500 * time.Millisecond
	idleRounds = 4
)

// startStop measures the time from exec to ready, and from SIGTERM to the removal
// of the table.
func (b *benchmark) startStop() error {
	conn, err := nftables.New(nftables.WithNetNSFd(int(b.host.NS.Fd())), nftables.AsLasting())
	if err != nil {
		return err
	}
	defer conn.CloseLasting()
	for range starts {
		start := time.Now()
		t, err := inject(servicePort, "idle-expire", "--after", "5m")(b, 0)
		if err != nil {
			return err
		}
		b.result.start = append(b.result.start, time.Since(start))
		stopped := time.Now()
		t.cmd.Process.Signal(syscall.SIGTERM)
		for {
			tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
			if err != nil {
				return err
			}
			if !slices.ContainsFunc(tables, func(t *nftables.Table) bool { return strings.HasPrefix(t.Name, "faultctl") }) {
				break
			}
			time.Sleep(200 * time.Microsecond)
		}
		b.result.stop = append(b.result.stop, time.Since(stopped))
		if err := t.stop(); err != nil {
			return err
		}
	}
	return nil
}

// moments measures at the client's end of the wire how long after its cause a
// forged segment arrives.
func (b *benchmark) moments() error {
	if err := b.resetLatency(); err != nil {
		return fmt.Errorf("reset latency: %w", err)
	}
	if err := b.idlePunctuality(); err != nil {
		return fmt.Errorf("idle expiry: %w", err)
	}
	return nil
}

// capture records the client's end of the wire while f runs.
func (b *benchmark) capture(port uint16, f func() error, enough func([]lab.Captured) bool) ([]lab.Captured, error) {
	c, err := b.lab.Client.Capture("eth0")
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := f(); err != nil {
		return nil, err
	}
	if !c.Wait(port, enough) {
		return nil, fmt.Errorf("too little was captured: %d segments", len(c.Segments(port)))
	}
	return c.Segments(port), nil
}

func count(segs []lab.Captured, is func(*lab.Captured) bool) (n int) {
	for i := range segs {
		if is(&segs[i]) {
			n++
		}
	}
	return n
}

func isReset(s *lab.Captured) bool { return !s.Out && s.Flags().Has(packet.RST) }

// resetLatency measures the time from the client's request to the RST that it
// triggers.
func (b *benchmark) resetLatency() error {
	silent, err := b.serve(resetPort, func(c net.Conn) { c.Read(make([]byte, 1)) })
	if err != nil {
		return err
	}
	defer silent()
	t, err := inject(resetPort, "reset", "--at", "request", "--rtt", "0ms")(b, 0)
	if err != nil {
		return err
	}
	defer t.stop()
	at := netip.AddrPortFrom(b.host.V4, resetPort)
	segs, err := b.capture(resetPort, func() error {
		for range resets {
			c, err := b.dial(at)
			if err != nil {
				return err
			}
			c.Write([]byte("request"))
			c.SetReadDeadline(time.Now().Add(5 * time.Second))
			c.Read(make([]byte, 1)) // until it is reset
			c.Close()
		}
		return nil
	}, func(segs []lab.Captured) bool { return count(segs, isReset) >= resets })
	if err != nil {
		return err
	}
	cause := map[uint16]time.Time{}
	for i := range segs {
		s := &segs[i]
		switch {
		case s.Out && s.PayloadLen() > 0:
			cause[s.SrcPort()] = s.At
		case isReset(s) && !cause[s.DstPort()].IsZero():
			b.result.rst = append(b.result.rst, s.At.Sub(cause[s.DstPort()]))
			delete(cause, s.DstPort())
		}
	}
	return nil
}

// idlePunctuality measures how late both ends get the RST of a device that forgot
// their flow.
func (b *benchmark) idlePunctuality() error {
	echo, err := b.serve(idlePort, func(c net.Conn) {
		buf := make([]byte, 64)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			c.Write(buf[:n])
		}
	})
	if err != nil {
		return err
	}
	defer echo()
	t, err := inject(idlePort, "idle-expire", "--after", idleAfter.String(), "--then", "rst-both")(b, 0)
	if err != nil {
		return err
	}
	defer t.stop()
	at := netip.AddrPortFrom(b.host.V4, idlePort)
	for range idleRounds {
		segs, err := b.capture(idlePort, func() error {
			var wg sync.WaitGroup
			for i := range idlers {
				c, err := b.dial(at)
				if err != nil {
					return err
				}
				wg.Go(func() {
					defer c.Close()
					buf := make([]byte, 8)
					c.SetDeadline(time.Now().Add(10 * time.Second))
					for range 1 + i%5 {
						c.Write([]byte("ping"))
						c.Read(buf)
					}
					c.Read(buf) // until the RST arrives
				})
			}
			wg.Wait()
			return nil
		}, func(segs []lab.Captured) bool { return count(segs, isReset) >= idlers })
		if err != nil {
			return err
		}
		last := map[uint16]time.Time{} // the last segment of the connection itself
		for i := range segs {
			s := &segs[i]
			port := s.SrcPort()
			if !s.Out {
				port = s.DstPort()
			}
			switch quiet := s.At.Sub(last[port]); {
			case !last[port].IsZero() && quiet > idleAfter/2: // the probe, or the RST
				b.result.idle = append(b.result.idle, quiet-idleAfter)
				delete(last, port)
			case last[port].IsZero() && !(s.Out && s.Flags() == packet.SYN): // the RST has arrived already
			default:
				last[port] = s.At
			}
		}
	}
	return nil
}

// micro runs the micro-benchmarks of the packet path, of the rules and of the flow
// table.
func (b *benchmark) micro() error {
	for _, run := range [][]string{
		{"-bench", "Judge|Decode|Verdict|WorstThree|Catalog", "-benchtime", "100ms", "-count", "3", "./faults", "./injector"},
		{"-bench", "Rules", "-benchtime", "300x", "-count", "3", "./injector"},
		{"-bench", "Flows|IdleSet", "-benchtime", "1x", "./injector"},
	} {
		out, err := exec.Command("go", append([]string{"test", "-run", "^$", "-benchmem"}, run...)...).Output()
		if err != nil {
			return fmt.Errorf("go test %v: %w\n%s", run, err, out)
		}
		b.result.parse(string(out))
	}
	return nil
}
