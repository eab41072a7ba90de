package ctnames

import (
	"fmt"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/minirun"
	"github.com/faultctl/faultctl/lab"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m.Run)) }

const (
	published = 9000
	inner     = 8080
	ownSign   = 0x01a0_17c1
)

// translate makes node lead connections to port 9000 of to, from its own programs
// and from elsewhere, to the server's port 8080.
func translate(t *testing.T, node, server *lab.Node, to []netip.Addr, masquerade bool) {
	t.Helper()
	lines := "add table inet n\nadd chain inet n pre { type nat hook prerouting priority -100; }\nadd chain inet n out { type nat hook output priority -100; }\n"
	for _, a := range to {
		family, serves := "ip", server.V4
		if a.Is6() {
			family, serves = "ip6", server.V6
		}
		at := netip.AddrPortFrom(serves, inner)
		for _, chain := range []string{"pre", "out"} {
			lines += fmt.Sprintf("add rule inet n %s %s daddr %s tcp dport %d dnat %s to %s\n", chain, family, a, published, family, at)
		}
	}
	if masquerade {
		lines += "add chain inet n post { type nat hook postrouting priority 100; }\nadd rule inet n post oifname != \"lo\" masquerade\n"
	}
	minirun.Shell(t, node.NS, "nft -f - <<'X'\n"+lines+"X")
}

// run judges packets of one port in one hook.
type run struct {
	t     *testing.T
	node  *lab.Node
	conn  *nftables.Conn
	table *nftables.Table
	names *Names
	mu    sync.Mutex
	judge func(packet.Segment) minirun.Verdict
	raw   *minirun.Raw
}

func begin(t *testing.T, node *lab.Node, hook *nftables.ChainHook, priority int) *run {
	r := &run{t: t, node: node, conn: minirun.Conn(t, node.NS), raw: minirun.NewRaw(t, node.NS, ownSign)}
	r.table = minirun.Table(r.conn, "run")
	var err error
	if r.names, err = Add(r.conn, r.table, -150); err != nil {
		t.Fatal(err)
	}
	minirun.Queue(t, node.NS, 500, func(p minirun.Packet) minirun.Verdict {
		s, err := packet.Parse(p.Bytes)
		r.mu.Lock()
		defer r.mu.Unlock()
		if err != nil || r.judge == nil {
			return minirun.Verdict{}
		}
		return r.judge(s)
	})
	// Conntrack knows nothing of what is sent in a name of the client's: no rule
	// for NAT is to see it.
	out := minirun.Chain(r.conn, r.table, "untracked", nftables.ChainHookOutput, -301)
	minirun.Rule(r.conn, out, minirun.Priority(expr.CmpOpEq, ^uint32(0), ownSign), minirun.Port(published, false), []expr.Any{&expr.Notrack{}})
	ch := minirun.Chain(r.conn, r.table, "judge", hook, priority)
	minirun.Rule(r.conn, ch, minirun.Priority(expr.CmpOpEq, ^uint32(0), ownSign), minirun.Accept())
	minirun.Rule(r.conn, ch, minirun.Port(inner, true), minirun.ToQueue(500))
	minirun.Flush(t, r.conn)
	return r
}

func (r *run) set(judge func(packet.Segment) minirun.Verdict) {
	r.mu.Lock()
	r.judge = judge
	r.mu.Unlock()
}

// answer drops a segment of a kind and answers it with a RST, in the name that the
// client knows or in that under which it was judged.
func (r *run) answer(asClientKnows bool, which func(packet.Segment) bool) {
	r.set(func(s packet.Segment) minirun.Verdict {
		if !which(s) {
			return minirun.Verdict{}
		}
		f, _ := packet.Answer(s, 64)
		if asClientKnows {
			as, ok, err := r.names.Server(r.conn, s.SrcAddrPort(), s.DstAddrPort())
			if !ok || err != nil {
				r.t.Errorf("no name for %s: %v", s.DstAddrPort(), err)
				return minirun.Verdict{}
			}
			f.Src = as
		}
		if err := r.raw.Send(f.Append(nil, nil)); err != nil {
			r.t.Error(err)
		}
		return minirun.Verdict{Drop: true}
	})
}

func isSYN(s packet.Segment) bool   { return s.Flags() == packet.SYN || s.Flags().Has(packet.SYN) }
func hasData(s packet.Segment) bool { return s.PayloadLen() > 0 }

// connect is what connect() says within a time in which no SYN is sent again.
func connect(t *testing.T, n *lab.Node, to netip.AddrPort) (string, *lab.App) {
	t.Helper()
	a, err := n.Client(to.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	a.Timeout(400 * time.Millisecond)
	return a.Connect(to), a
}

const silence = "EINPROGRESS" // what connect() returns when its time (SO_SNDTIMEO) is over

// TestRouter holds that a router's answers reach the client of a translated
// connection in the name that the client knows, to a SYN and to data, whether or
// not the router puts its own address in the client's place; and that answers in
// the name under which packets are judged do not, where a name is needed.
func TestRouter(t *testing.T) {
	for _, masquerade := range []bool{false, true} {
		t.Run(map[bool]string{false: "dnat", true: "dnat and masquerade"}[masquerade], func(t *testing.T) {
			l, err := lab.New()
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			own := addrs(l.Router)
			translate(t, l.Router, l.Server, own, masquerade)
			r := begin(t, l.Router, nftables.ChainHookForward, -150)
			for i, to := range own {
				at := netip.AddrPortFrom(to, published)
				listener, _, err := l.Server.Listen(netip.AddrPortFrom(addrs(l.Server)[i], inner), 8)
				if err != nil {
					t.Fatal(err)
				}
				defer listener.Close()

				r.set(nil)
				if got, _ := connect(t, l.Client, at); got != "ok" {
					t.Fatalf("%s: without a run connect() = %s", at, got)
				}
				if a, err := listener.Accept(); err == nil {
					a.Close()
				}
				r.answer(true, isSYN)
				if got, _ := connect(t, l.Client, at); got != "ECONNREFUSED" {
					t.Errorf("%s: answered in the client's name for it, connect() = %s", at, got)
				}
				r.answer(false, isSYN)
				if got, _ := connect(t, l.Client, at); got != silence {
					t.Errorf("%s: answered in the name of %d, connect() = %s", at, inner, got)
				}

				for _, named := range []bool{true, false} {
					r.set(nil)
					got, client := connect(t, l.Client, at)
					if got != "ok" {
						t.Fatalf("%s: connect() = %s", at, got)
					}
					server, err := listener.Accept()
					if err != nil {
						t.Fatal(err)
					}
					defer server.Close()
					r.answer(named, hasData)
					client.Send("hello")
					got = client.Recv()
					want := "ECONNRESET"
					if !named && masquerade { // conntrack knows no answer to the client's own address
						want = "EAGAIN"
					}
					if got != want {
						t.Errorf("%s: data answered, named %v: recv() = %s, want %s", at, named, got, want)
					}
				}
			}
		})
	}
}

// TestRouterToServer holds how a segment in the client's name reaches the server
// of a translated connection: sent as the client sent it, conntrack does the rest.
func TestRouterToServer(t *testing.T) {
	for _, masquerade := range []bool{false, true} {
		for _, original := range []bool{true, false} {
			t.Run(fmt.Sprintf("masquerade %v, as the client sends it %v", masquerade, original), func(t *testing.T) {
				l, err := lab.New()
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				own := addrs(l.Router)
				translate(t, l.Router, l.Server, own, masquerade)
				r := begin(t, l.Router, nftables.ChainHookForward, -150)
				for i, to := range own {
					at := netip.AddrPortFrom(to, published)
					listener, _, err := l.Server.Listen(netip.AddrPortFrom(addrs(l.Server)[i], inner), 8)
					if err != nil {
						t.Fatal(err)
					}
					defer listener.Close()
					r.set(nil)
					got, client := connect(t, l.Client, at)
					if got != "ok" {
						t.Fatal(got)
					}
					server, err := listener.Accept()
					if err != nil {
						t.Fatal(err)
					}
					defer server.Close()
					server.Timeout(400 * time.Millisecond)
					r.set(func(s packet.Segment) minirun.Verdict {
						if !hasData(s) {
							return minirun.Verdict{}
						}
						f := packet.FieldsOf(s)
						f.Flags = packet.RST | packet.ACK
						if original {
							f.Dst, _, _ = r.names.Server(r.conn, f.Src, f.Dst)
						}
						if err := r.raw.Send(f.Append(nil, nil)); err != nil {
							t.Error(err)
						}
						return minirun.Verdict{Drop: true}
					})
					client.Send("hello")
					want := "ECONNRESET"
					if !original && masquerade {
						want = "EAGAIN"
					}
					if got := server.Recv(); got != want {
						t.Errorf("%s: recv() = %s, want %s", at, got, want)
					}
				}
			})
		}
	}
}

// TestLocalClient holds the same for a client on the host that translates, which
// asks for the host's own address (a published port) or for one that nobody has (a
// cluster's service address): behind the translation in output.
func TestLocalClient(t *testing.T) {
	l, err := lab.New()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	own := addrs(l.Client)
	virtual := []netip.Addr{netip.MustParseAddr("10.99.0.1"), netip.MustParseAddr("fd99::1")}[:len(own)]
	translate(t, l.Client, l.Server, append(append([]netip.Addr{}, own...), virtual...), false)
	r := begin(t, l.Client, nftables.ChainHookOutput, AfterDNAT+1)
	for i := range own {
		listener, _, err := l.Server.Listen(netip.AddrPortFrom(addrs(l.Server)[i], inner), 8)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		for _, to := range []netip.Addr{own[i], virtual[i]} {
			at := netip.AddrPortFrom(to, published)
			r.set(nil)
			if got, _ := connect(t, l.Client, at); got != "ok" {
				t.Fatalf("%s: without a run connect() = %s", at, got)
			}
			if a, err := listener.Accept(); err == nil {
				a.Close()
			}
			r.answer(true, isSYN)
			if got, _ := connect(t, l.Client, at); got != "ECONNREFUSED" {
				t.Errorf("%s: answered in the client's name for it, connect() = %s", at, got)
			}
			r.answer(false, isSYN)
			if got, _ := connect(t, l.Client, at); got != silence {
				t.Errorf("%s: answered in the name of %d, connect() = %s", at, inner, got)
			}
			r.set(nil)
			got, client := connect(t, l.Client, at)
			if got != "ok" {
				t.Fatal(got)
			}
			server, err := listener.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			r.answer(true, hasData)
			client.Send("hello")
			if got := client.Recv(); got != "ECONNRESET" {
				t.Errorf("%s: data answered in the client's name for it, recv() = %s", at, got)
			}
		}
	}
}

func addrs(n *lab.Node) []netip.Addr {
	if !n.V6.IsValid() {
		return []netip.Addr{n.V4}
	}
	return []netip.Addr{n.V4, n.V6}
}

// TestReject is what nft's own reject does, for comparison.
func TestReject(t *testing.T) {
	for _, masquerade := range []bool{false, true} {
		l, err := lab.New()
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		own := addrs(l.Router)
		translate(t, l.Router, l.Server, own, masquerade)
		minirun.Shell(t, l.Router.NS, "nft add table inet r; nft add chain inet r c '{ type filter hook forward priority -150; }'; "+
			"nft add rule inet r c 'tcp flags & (syn|ack) == syn' reject with tcp reset")
		for _, to := range own {
			got, _ := connect(t, l.Client, netip.AddrPortFrom(to, published))
			t.Logf("masquerade %v, %s: connect() = %s", masquerade, to, got)
			if got != "ECONNREFUSED" {
				t.Errorf("masquerade %v, %s: connect() = %s", masquerade, to, got)
			}
		}
	}
}

// TestConntrackOfQueue says whether this kernel sends a packet's conntrack entry
// along with it (NFQA_CT): many are built without it.
func TestConntrackOfQueue(t *testing.T) {
	l, err := lab.NewIPv4()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	translate(t, l.Router, l.Server, []netip.Addr{l.Router.V4}, false)
	c := minirun.Conn(t, l.Router.NS)
	table := minirun.Table(c, "run")
	got := make(chan int, 16)
	minirun.Queue(t, l.Router.NS, 500, func(p minirun.Packet) minirun.Verdict {
		select {
		case got <- len(p.CT):
		default:
		}
		return minirun.Verdict{}
	})
	minirun.Rule(c, minirun.Chain(c, table, "judge", nftables.ChainHookForward, -150), minirun.Port(inner, true), minirun.ToQueue(500))
	minirun.Flush(t, c)
	connect(t, l.Client, netip.AddrPortFrom(l.Router.V4, published))
	select {
	case n := <-got:
		t.Logf("NFQA_CT has %d bytes", n)
	case <-time.After(5 * time.Second):
		t.Error("nothing came to the queue")
	}
}

// TestWhereNamesHold holds which names the packets of a local client's translated
// connection carry in each place: behind the translation in output and in front of
// it in input they are the same, in both directions, and so are the client's own
// in front of the one and behind the other.
func TestWhereNamesHold(t *testing.T) {
	l, err := lab.New()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	virtual := []netip.Addr{netip.MustParseAddr("10.99.0.1"), netip.MustParseAddr("fd99::1")}[:len(addrs(l.Client))]
	translate(t, l.Client, l.Server, virtual, false)
	lines := "add table inet k\n"
	for _, at := range []struct {
		name, hook string
		priority   int
		port       string
	}{
		{"out_before", "output", -150, fmt.Sprintf("tcp dport %d", published)},
		{"out_behind", "output", AfterDNAT, fmt.Sprintf("tcp dport %d", inner)},
		{"in_before", "input", -150, fmt.Sprintf("tcp sport %d", inner)},
		{"in_behind", "input", 101, fmt.Sprintf("tcp sport %d", published)},
	} {
		lines += fmt.Sprintf("add chain inet k %s { type filter hook %s priority %d; }\nadd rule inet k %s %s counter\nadd rule inet k %s meta l4proto tcp counter\n",
			at.name, at.hook, at.priority, at.name, at.port, at.name)
	}
	minirun.Shell(t, l.Client.NS, "nft -f - <<'X'\n"+lines+"X")
	for i, to := range virtual {
		listener, _, err := l.Server.Listen(netip.AddrPortFrom(addrs(l.Server)[i], inner), 8)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		got, client := connect(t, l.Client, netip.AddrPortFrom(to, published))
		if got != "ok" {
			t.Fatal(got)
		}
		server, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		client.Send("hello")
		server.Recv()
		server.Send("answer")
		client.Recv()
		client.Close()
		server.Close()
	}
	// In each chain the packets of the one port are all there are of TCP.
	minirun.Shell(t, l.Client.NS, `for c in out_before out_behind in_before in_behind; do
		nft list chain inet k $c | grep -o 'packets [0-9]*' | uniq | awk -v c=$c 'END { if (NR != 1 || $2 == 0) { print c, NR, $0; exit 1 } }' || exit 1
	done`)
}
