package injector

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/minirun"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/lab"
)

const publishedPort, innerPort = 9000, 8080

// translate makes node lead connections to the published port of to, from its own
// programs and from elsewhere, to the server's inner port.
func translate(t testing.TB, node, server *lab.Node, to []netip.Addr, masquerade bool) {
	t.Helper()
	lines := "add table inet n\nadd chain inet n pre { type nat hook prerouting priority -100; }\nadd chain inet n out { type nat hook output priority -100; }\n"
	for _, a := range to {
		family, serves := "ip", server.V4
		if a.Is6() {
			family, serves = "ip6", server.V6
		}
		for _, chain := range []string{"pre", "out"} {
			lines += fmt.Sprintf("add rule inet n %s %s daddr %s tcp dport %d dnat %s to %s\n", chain, family, a, publishedPort, family, netip.AddrPortFrom(serves, innerPort))
		}
	}
	if masquerade {
		lines += "add chain inet n post { type nat hook postrouting priority 100; }\nadd rule inet n post oifname != \"lo\" masquerade\n"
	}
	minirun.Shell(t, node.NS, "nft -f - <<'X'\n"+lines+"X")
}

// natWorld is a lab with a host that translates.
type natWorld struct {
	*lab.Lab
	t    *testing.T
	from *lab.Node    // where the client is
	at   *lab.Node    // the host that translates and judges
	to   []netip.Addr // what the client asks for
}

func natWorlds(t *testing.T, test func(t *testing.T, w *natWorld)) {
	for _, kind := range []string{"router", "router that masquerades", "own address", "service address"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			l, err := lab.New()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(l.Close)
			w := &natWorld{Lab: l, t: t, from: l.Client, at: l.Router, to: addrsOf(l.Router)}
			switch kind {
			case "own address":
				w.at, w.to = l.Client, addrsOf(l.Client)
			case "service address":
				w.at, w.to = l.Client, []netip.Addr{netip.MustParseAddr("10.99.0.1"), netip.MustParseAddr("fd99::1")}[:len(addrsOf(l.Client))]
			}
			translate(t, w.at, l.Server, w.to, kind == "router that masquerades")
			test(t, w)
		})
	}
}

func (w *natWorld) listen(i int) *lab.App {
	ln, _, err := w.Server.Listen(netip.AddrPortFrom(addrsOf(w.Server)[i], innerPort), 8)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(ln.Close)
	return ln
}

func (w *natWorld) connect(to netip.Addr) (string, *lab.App) {
	c, err := w.from.Client(to)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	c.Timeout(800 * time.Millisecond) // less than a SYN takes to be sent again
	return c.Connect(netip.AddrPortFrom(to, publishedPort)), c
}

// targets are by which names a run may be about the connections.
func (w *natWorld) targets() map[string]target.Matcher {
	of := func(port uint16) target.Matcher {
		return target.Matcher{To: []target.Endpoint{{LowPort: port, HighPort: port}}}
	}
	ts := map[string]target.Matcher{"inner": of(innerPort)}
	if w.at == w.Client {
		ts["published"], ts["any"] = of(publishedPort), target.Matcher{}
	}
	return ts
}

func (w *natWorld) run(m target.Matcher, name string, knobs ...string) (*Injector, func()) {
	return startInjector(w.t, w.at.NS, false, Config{Rules: []Rule{{Match: m, Faults: []NamedModel{model(w.t, name, knobs...)}}}})
}

// TestAnswersToSYNBehindNAT holds that what answers the SYN of a translated connection
// reaches its client, by whichever of the server's names the run is about it.
func TestAnswersToSYNBehindNAT(t *testing.T) {
	natWorlds(t, func(t *testing.T, w *natWorld) {
		for i, to := range w.to {
			w.listen(i)
			for name, m := range w.targets() {
				for _, c := range [][]string{{"ECONNREFUSED", "refuse"}, {"EHOSTUNREACH", "unreachable"}, {"ECONNREFUSED", "reset", "at", "syn"}} {
					_, stop := w.run(m, c[1], c[2:]...)
					if got, _ := w.connect(to); got != c[0] {
						t.Errorf("%s, target %s: %s: connect() = %s, want %s", to, name, c[1:], got, c[0])
					}
					stop()
				}
			}
		}
	})
}

// TestResetBehindNAT holds that the RSTs to both ends of an established connection arrive.
func TestResetBehindNAT(t *testing.T) {
	natWorlds(t, func(t *testing.T, w *natWorld) {
		for i, to := range w.to {
			ln := w.listen(i)
			for name, m := range w.targets() {
				for _, midstream := range []bool{false, true} {
					var stop func()
					if !midstream {
						_, stop = w.run(m, "reset", "at", "match=kill", "hit", "both")
					}
					got, client := w.connect(to)
					if got != "ok" {
						t.Fatalf("%s, target %s: connect() = %s", to, name, got)
					}
					server, err := ln.Accept()
					if err != nil {
						t.Fatal(err)
					}
					defer server.Close()
					server.Timeout(800 * time.Millisecond)
					client.Send("ping")
					server.Recv()
					server.Send("pong")
					client.Recv()
					if midstream {
						_, stop = w.run(m, "reset", "at", "match=kill", "hit", "both")
					}
					client.Send("kill")
					if got, want := client.Recv(), "ECONNRESET"; got != want {
						t.Errorf("%s, target %s, open before %v: the client's recv() = %s", to, name, midstream, got)
					}
					if got, want := server.Recv(), "ECONNRESET"; got != want {
						t.Errorf("%s, target %s, open before %v: the server's recv() = %s", to, name, midstream, got)
					}
					stop()
				}
			}
		}
	})
}

// TestBothDirectionsBehindNAT holds that both directions of a translated connection are
// judged, each segment once, as one connection; and that what a fault holds back on the
// client's host arrives.
func TestBothDirectionsBehindNAT(t *testing.T) {
	natWorlds(t, func(t *testing.T, w *natWorld) {
		for i, to := range w.to {
			ln := w.listen(i)
			for name, m := range w.targets() {
				inj, stop := startInjector(t, w.at.NS, false, Config{Rules: []Rule{{Match: m, Faults: fake(faults.Diversion{All: true})}}})
				talkThrough(t, w, ln, to, 10)
				stop()
				if s := inj.Stats(); s.Rules[0].Flows != 1 || s.Diverted < 20 || s.Diverted > 60 {
					t.Errorf("%s, target %s: %d connections, %d segments; want 1 and 20 to 60", to, name, s.Rules[0].Flows, s.Diverted)
				}
				start := time.Now()
				_, stop = w.run(m, "delay", "by", "30ms")
				talkThrough(t, w, ln, to, 2)
				if took := time.Since(start); took < 180*time.Millisecond {
					t.Errorf("%s, target %s: three round trips with 30 ms each way took %v", to, name, took)
				}
				stop()
			}
		}
	})
}

func talkThrough(t *testing.T, w *natWorld, ln *lab.App, to netip.Addr, n int) {
	t.Helper()
	got, client := w.connect(to)
	if got != "ok" {
		t.Fatalf("%s: connect() = %s", to, got)
	}
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	defer client.Close()
	for range n {
		client.Send("ping")
		if got := server.Recv(); got != "ping" {
			t.Fatalf("%s: server's recv() = %s", to, got)
		}
		server.Send("pong")
		if got := client.Recv(); got != "pong" {
			t.Fatalf("%s: client's recv() = %s", to, got)
		}
	}
}
