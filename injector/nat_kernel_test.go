package injector

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/kerneltest"
	"github.com/faultctl/faultctl/injector/internal/minirun"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/lab"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
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

// TestAnswersToSYNBehindNAT checks that what answers the SYN of a translated connection
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

// TestResetBehindNAT checks that the RSTs to both ends of an established connection arrive.
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

// TestBothDirectionsBehindNAT checks that both directions of a translated connection are
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

// TestTracksNothingMore checks that a run asks conntrack in those families only that the
// host translates: elsewhere nothing is tracked for its sake.
func TestTracksNothingMore(t *testing.T) {
	for _, nat := range []bool{false, true} {
		l, err := lab.New()
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if nat {
			translate(t, l.Router, l.Server, []netip.Addr{l.Router.V4}, false)
			minirun.Shell(t, l.Router.NS, "nft delete table inet n; nft add table ip n; nft add chain ip n pre '{ type nat hook prerouting priority -100; }'; nft add rule ip n pre tcp dport 9 dnat to 10.0.0.1")
			minirun.Shell(t, l.Router.NS, "nft add table ip6 n; nft add chain ip6 n pre '{ type nat hook prerouting priority -100; }'") // which translates nothing
		}
		found, err := FindNAT(l.Router.NS)
		if want := (NAT{IPv4: nat}); err != nil || found != want {
			t.Errorf("NAT: %+v, %v; want %+v", found, err, want)
		}
		match := target.Matcher{To: []target.Endpoint{{LowPort: innerPort, HighPort: innerPort}}}
		inj, stop := startInjector(t, l.Router.NS, false, Config{Rules: []Rule{{Match: match, Faults: fake(faults.Diversion{All: true})}}})
		for _, to := range addrsOf(l.Server) {
			ln, at, err := l.Server.Listen(netip.AddrPortFrom(to, innerPort), 8)
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			c, err := l.Client.Client(to)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if got := c.Connect(at); got != "ok" {
				t.Fatal(got)
			}
		}
		text := inj.Ruleset()
		if left, more := strings.Index(text, "chain left_input"), strings.Index(text, "\ntable ip "); left < 0 || (more >= 0) != nat || nat && more < left {
			t.Errorf("IPv4 translated %v: the rules are shown as\n%s", nat, text)
		}
		if n := inj.Stats().Rules[0].Flows; n != uint64(len(addrsOf(l.Server))) {
			t.Errorf("%d connections judged", n)
		}
		h, err := netlink.NewHandleAt(netns.NsHandle(l.Router.NS.Fd()), unix.NETLINK_NETFILTER)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		for family, want := range map[netlink.InetFamily]bool{unix.AF_INET: nat, unix.AF_INET6: false} {
			tracked, err := h.ConntrackTableList(netlink.ConntrackTable, family)
			if err != nil {
				t.Fatal(err)
			}
			if got := len(tracked) > 0; got != want {
				t.Errorf("IPv4 translated %v: %d connections of family %d tracked", nat, len(tracked), family)
			}
		}
		stop()
		for _, left := range kerneltest.Tables(t, l.Router.NS) {
			if left != "n" {
				t.Errorf("table left: %s", left)
			}
		}
	}
}

// TestOwnerBehindNAT checks that the connections of a cgroup's processes are judged, both
// directions, where their host translates them.
func TestOwnerBehindNAT(t *testing.T) {
	natWorlds(t, func(t *testing.T, w *natWorld) {
		if w.at != w.Client {
			t.Skip("the client is elsewhere")
		}
		dir := ownedCgroup(t)
		owner, err := target.FindCgroup(dir)
		if err != nil {
			t.Fatal(err)
		}
		for i, to := range w.to {
			var ln net.Listener
			if err := w.Server.Do(func() (err error) {
				ln, err = net.Listen("tcp", netip.AddrPortFrom(addrsOf(w.Server)[i], innerPort).String())
				return err
			}); err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			go echo(ln)
			inj, stop := startInjector(t, w.at.NS, false, Config{Rules: []Rule{{Match: target.Matcher{Owner: target.Owner{Cgroup: owner}}, Faults: fake(faults.Diversion{All: true})}}})
			for _, in := range []string{"", dir} {
				if err := w.from.Do(func() error {
					dialFrom(t, netip.AddrPortFrom(to, publishedPort).String(), in, 0)
					return nil
				}); err != nil {
					t.Fatal(err)
				}
			}
			stop()
			if s := inj.Stats(); s.Rules[0].Flows != 1 || s.Diverted < 40 {
				t.Errorf("%s: %d connections, %d segments; want 1 and 40 at least", to, s.Rules[0].Flows, s.Diverted)
			}
		}
	})
}

// TestRunsBesideBehindNAT checks that nothing passes a partition on the host of a client
// that translates, whatever the run before it sends again.
func TestRunsBesideBehindNAT(t *testing.T) {
	natWorlds(t, func(t *testing.T, w *natWorld) {
		for i, to := range w.to {
			w.listen(i)
			for name, m := range w.targets() {
				for _, first := range [][]string{{"duplicate", "chance", "100%"}, {"delay", "by", "10ms"}} {
					ahead, stop := w.run(m, first[0], first[1:]...)
					behind, stop2 := w.run(m, "partition")
					got, c := w.connect(to)
					c.Close() // or it sends its SYN again
					if got != "EINPROGRESS" {
						t.Errorf("%s, target %s: %s before a partition: connect() = %s", to, name, first[0], got)
					}
					if a, b := ahead.Stats(), behind.Stats(); a.Diverted != 1 || b.Diverted < 1 || b.Diverted > 2 || b.Diverted == 1 && first[0] == "duplicate" {
						t.Errorf("%s, target %s: %s was given %d segments, the partition %d", to, name, first[0], a.Diverted, b.Diverted)
					}
					stop()
					stop2()
				}
			}
		}
	})
}

// TestFindNAT checks that rules of either iptables are found, in their family.
func TestFindNAT(t *testing.T) {
	for _, tool := range []string{"iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy"} {
		t.Run(tool, func(t *testing.T) {
			ns := kerneltest.NetNS(t)
			to, want := "10.0.0.1", NAT{IPv4: true}
			if strings.HasPrefix(tool, "ip6") {
				to, want = "fd00::1", NAT{IPv6: true}
			}
			minirun.Shell(t, ns, tool+" -t nat -A PREROUTING -p tcp --dport 9 -j DNAT --to-destination "+to)
			if got, err := FindNAT(ns); err != nil || got != want {
				t.Errorf("%+v, %v; want %+v", got, err, want)
			}
		})
	}
}

// TestLaterNAT holds that a run says at its end that rules for NAT came meanwhile, in their
// family, and says nothing of those that were there.
func TestLaterNAT(t *testing.T) {
	ns := kerneltest.NetNS(t)
	add := func(tool, to string) {
		minirun.Shell(t, ns, tool+" -t nat -A PREROUTING -p tcp --dport 9 -j DNAT --to-destination "+to)
	}
	add("iptables-nft", "10.0.0.1")
	for _, want := range []string{"", "family=ip6", ""} {
		var said strings.Builder
		i, err := Start(t.Context(), Config{NetNS: ns, Rules: []Rule{ruleOf(model(t, "refuse"))}, Logger: slog.New(slog.NewTextHandler(&said, nil))})
		if err != nil {
			t.Fatal(err)
		}
		if want != "" {
			add("ip6tables-nft", "fd00::1")
		}
		if err := i.Stop(); err != nil {
			t.Fatal(err)
		}
		warned := strings.Contains(said.String(), "rules for NAT came")
		if warned != (want != "") || !strings.Contains(said.String(), want) || strings.Contains(said.String(), "family=IPv4") {
			t.Errorf("want a warning of %q: %s", want, &said)
		}
	}
}
