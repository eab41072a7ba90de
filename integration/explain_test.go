package integration

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/faultctl/faultctl/explain"
	"github.com/faultctl/faultctl/explain/tap"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/lab"
)

// TestExplainLive listens on the client's host while a server aborts a connection
// and another port refuses one.
func TestExplainLive(t *testing.T) {
	for _, family := range []string{"IPv4", "IPv6"} {
		t.Run(family, func(t *testing.T) {
			hosts, err := lab.New()
			if err != nil {
				t.Fatal(err)
			}
			defer hosts.Close()
			addr := hosts.Server.V4
			if family == "IPv6" {
				if !lab.IPv6() {
					t.Skip("this kernel has no IPv6")
				}
				addr = hosts.Server.V6
			}
			service, nobody := netip.AddrPortFrom(addr, 5432), netip.AddrPortFrom(addr, 5433)
			ln, _, err := hosts.Server.Listen(service, 16)
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			var listening *tap.Tap
			if err := hosts.Client.Do(func() (err error) {
				listening, err = tap.Listen(target.Matcher{To: []target.Endpoint{{LowPort: 5432, HighPort: 5433}}}, "/proc")
				return err
			}); err != nil {
				t.Fatal(err)
			}
			defer listening.Close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			found := make(chan explain.Finding, 10)
			ended := make(chan error, 1)
			go func() {
				_, err := listening.Run(ctx, func(f explain.Finding) { found <- f })
				ended <- err
			}()

			abort(t, hosts, ln, service)
			refused, err := hosts.Client.Client(addr)
			if err != nil {
				t.Fatal(err)
			}
			defer refused.Close()
			if got := refused.Connect(nobody); got != "ECONNREFUSED" {
				t.Fatalf("connect to a port where nothing listens: %s", got)
			}

			want := map[uint16]string{5432: "linger-reset", 5433: "refuse"}
			for range want {
				select {
				case f := <-found:
					names := append([]string{f.Verdict.Cause}, f.Verdict.Twins...)
					if !slices.Contains(names, want[f.Server.Port()]) {
						t.Errorf("port %d: %v", f.Server.Port(), f.Verdict)
					}
				case <-time.After(30 * time.Second):
					t.Fatal("nothing is found")
				}
			}
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// abort opens a connection, exchanges a message, and lets the server close with
// SO_LINGER and a timeout of zero.
func abort(t *testing.T, hosts *lab.Lab, ln *lab.App, service netip.AddrPort) {
	t.Helper()
	c, err := hosts.Client.Client(service.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := c.Connect(service); got != "ok" {
		t.Fatalf("connect: %s", got)
	}
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.Send("ping")
	s.Recv()
	s.Send("pong")
	c.Recv()
	if err := s.Linger(); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if got := c.Recv(); got != "ECONNRESET" {
		t.Fatalf("recv() = %s", got)
	}
}
