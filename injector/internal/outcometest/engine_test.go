// Package outcometest plays faults of the real engine on real connections, and
// holds what package outcome says of them from each vantage.
package outcometest

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/features"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/internal/minirun"
	"github.com/faultctl/faultctl/injector/internal/sockdiag"
	"github.com/faultctl/faultctl/injector/internal/tracepoint"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/strike"
	"github.com/faultctl/faultctl/lab"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == fmt.Sprint(runtime.GOMAXPROCS(0)) {
		f.Value.Set("16") // these tests wait for time to pass, not for a processor
	}
	os.Exit(lab.Main(m.Run))
}

// watcher feeds a Tracker with what the engine's tap shows of one connection.
type watcher struct {
	mu    sync.Mutex
	tr    outcome.Tracker
	start time.Time
	last  time.Duration
	hit   bool
	seen  []string
}

func (w *watcher) packet(p injector.Packet) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := max(w.last, time.Since(w.start))
	w.last = at
	dir := faults.Original
	if p.FromServer {
		dir = faults.Reply
	}
	s, err := packet.Parse(p.Bytes)
	if err == nil {
		w.seen = append(w.seen, fmt.Sprintf("%v %v [%v] len %d %s", at.Round(time.Millisecond), dir, s.Flags(), s.PayloadLen(), p.Fate))
		switch p.Fate {
		case injector.Passed:
			w.tr.Segment(at, dir, s, features.Passed)
		case injector.Dropped:
			w.tr.Segment(at, dir, s, features.Dropped)
		case injector.Delayed:
			w.tr.Segment(at, dir, s, features.Held)
		case injector.Rewritten:
			w.tr.Segment(at, dir, s, features.Rewritten)
		}
	}
	if p.Fate != injector.Late {
		for _, n := range p.Notes {
			w.tr.Strike(at, n.Action, n.To)
			w.hit = true
		}
	}
	if err != nil {
		return
	}
	switch p.Fate {
	case injector.Replacement:
		w.tr.Replaced(at, dir, s)
	case injector.Forged:
		w.tr.Forged(at, dir, s)
	}
}

func (w *watcher) kernel(side faults.Side, ev outcome.Evidence) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tr.Kernel(max(w.last, time.Since(w.start)), side, ev)
}

func (w *watcher) struck() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hit
}

// world is one connection under one fault.
type world struct {
	*lab.Lab
	t        *testing.T
	at       string // client, router or server
	service  netip.AddrPort
	listener *lab.App
	client   *lab.App
	server   *lab.App
	watcher  *watcher
	engine   *injector.Injector
	stop     func()
}

func (w *world) node() *lab.Node {
	return map[string]*lab.Node{"client": w.Client, "router": w.Router, "server": w.Server}[w.at]
}

func newWorld(t *testing.T, at string, v6, watched bool, spec string) *world {
	l, err := lab.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	w := &world{Lab: l, t: t, at: at, watcher: &watcher{start: time.Now()}}
	addr := l.Server.V4
	if v6 {
		addr = l.Server.V6
	}
	if w.listener, w.service, err = l.Server.Listen(netip.AddrPortFrom(addr, 5432), 8); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.listener.Close)
	models := []injector.NamedModel{strike.Fault(t, spec)}
	w.engine, w.stop = strike.Begin(t, injector.Config{
		NetNS: w.node().NS, OnPacket: w.watcher.packet, Judge: watched,
		Rules: []injector.Rule{{
			Match:  target.Matcher{To: []target.Endpoint{{LowPort: 5432, HighPort: 5432}}},
			Faults: models,
		}},
	})
	t.Cleanup(w.stop)
	return w
}

func (w *world) connect() string {
	w.client, _ = w.Client.Client(w.service.Addr())
	w.t.Cleanup(w.client.Close)
	w.client.Timeout(4 * time.Second)
	got := w.client.Connect(w.service)
	if got == "ok" {
		w.accept()
	}
	return got
}

func (w *world) accept() {
	var err error
	if w.server, err = w.listener.Accept(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(w.server.Close)
}

// exchange is a request and its answer.
func (w *world) exchange() {
	w.client.Send("request")
	w.whole(w.server, "request")
	w.server.Send("the answer")
	w.whole(w.client, "the answer")
}

// whole receives a text, in however many pieces.
func (w *world) whole(a *lab.App, text string) {
	w.t.Helper()
	for got := ""; got != text; {
		part := a.Recv()
		if got += part; len(got) > len(text) || part == "EOF" {
			w.t.Fatalf("recv() = %s", got)
		}
	}
}

// askKernel says what the kernel knows of the client's socket, as whoever runs on
// its host would.
func (w *world) askKernel() {
	if w.at != "client" || w.client == nil {
		return
	}
	d, err := sockdiag.Open(w.Client.NS)
	if err != nil {
		w.t.Fatal(err)
	}
	defer d.Close()
	local := w.local
	s, err := d.Ask(local(), w.service)
	switch {
	case errors.Is(err, sockdiag.ErrNone):
		w.watcher.kernel(faults.Client, outcome.SocketGone)
	case err != nil:
		w.t.Fatal(err)
	case s.State == sockdiag.Established:
		w.watcher.kernel(faults.Client, outcome.SocketAlive)
	}
}

// askBefore asks before anything is struck.
func (w *world) askBefore() {
	if w.at != "client" {
		return
	}
	d, err := sockdiag.Open(w.Client.NS)
	if err != nil {
		w.t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Ask(w.local(), w.service); errors.Is(err, sockdiag.ErrNone) {
		w.watcher.kernel(faults.Client, outcome.NoSocket)
	}
}

func all(v outcome.Verdict) map[string]outcome.Verdict { return map[string]outcome.Verdict{"": v} }

var locals sync.Map

func (w *world) local() netip.AddrPort {
	if a := w.client.Local(); a.Port() != 0 {
		locals.Store(w.client, a)
		return a
	}
	a, _ := locals.Load(w.client)
	ap, _ := a.(netip.AddrPort)
	return ap
}

const (
	ms   = time.Millisecond
	wait = 1500 * ms       // longer than the first retransmission of anything takes
	more = 2 * time.Second // with that it is as long as silence must be to be evidence
)

// TestEngine plays each case from each vantage, over IPv4 and IPv6.
func TestEngine(t *testing.T) {
	for _, c := range []struct {
		name, spec string
		firewall   string // in the client's namespace
		play       func(w *world)
		want       map[string]outcome.Verdict // by vantage; "" is all others
		unwatched  map[string]outcome.Verdict // the same, where the kernel lets pass what the fault does not need; nil: no difference
	}{{
		"idle-expire on the client's own FIN", "idle-expire:after=300ms", "", func(w *world) {
			w.connect()
			w.exchange()
			time.Sleep(500 * ms)
			w.close()
		}, all(outcome.Unfelt), nil,
	}, {
		"idle-expire, and the client asks again", "idle-expire:after=300ms", "", func(w *world) {
			w.connect()
			w.exchange()
			time.Sleep(500 * ms)
			w.client.Send("again")
			w.expect(w.client.Recv(), "ECONNRESET")
		}, all(outcome.Survived), nil,
	}, {
		"rst-close of the server that answers the client's close", "rst-close:side=server", "", func(w *world) {
			w.connect()
			w.exchange()
			time.Sleep(300 * ms)
			w.close()
			w.server.Recv()
			w.server.Close()
		}, all(outcome.Unfelt), nil,
	}, {
		"linger-reset of the same", "linger-reset:side=server", "", func(w *world) {
			w.connect()
			w.exchange()
			time.Sleep(300 * ms)
			w.close()
			w.server.Recv()
			w.server.Close()
		}, all(outcome.Unfelt), nil,
	}, {
		"half-open after the only answer", "half-open:at=age=500ms", "", func(w *world) {
			w.connect()
			w.exchange()
			time.Sleep(800 * ms)
			w.close()
		}, all(outcome.Unfelt), nil,
	}, {
		"reset by age after the only answer", "reset:at=age=500ms", "", func(w *world) {
			w.connect()
			w.exchange()
			time.Sleep(800 * ms)
			w.askKernel()
			w.close()
		}, all(outcome.Unfelt), all(outcome.Unknown),
	}, {
		"reset by age, and the client asks again", "half-open:at=age=500ms,peer=rebooted", "", func(w *world) {
			w.connect()
			w.exchange()
			time.Sleep(800 * ms)
			w.client.Send("again")
			w.expect(w.client.Recv(), "ECONNRESET")
		}, all(outcome.Survived), nil,
	}, {
		"reset at the request", "reset:at=request", "", func(w *world) {
			w.connect()
			w.client.Send("request")
			w.expect(w.client.Recv(), "ECONNRESET")
		}, all(outcome.Survived), nil,
	}, {
		"the same, and the client's firewall drops every RST", "reset:at=request", "client", func(w *world) {
			w.connect()
			w.client.Send("request")
			w.client.Timeout(1500 * ms)
			w.expect(w.client.Recv(), "EAGAIN")
		}, all(outcome.Unaccepted), nil,
	}, {
		"refused", "refuse", "", func(w *world) {
			w.expect(w.connect(), "ECONNREFUSED")
		}, all(outcome.Survived), nil,
	}, {
		"refused behind the client's firewall", "refuse", "client", func(w *world) {
			w.expect(w.connect(), "EINPROGRESS")
		}, all(outcome.Unaccepted), nil,
	}, {
		"unreachable", "unreachable", "", func(w *world) {
			w.expect(w.connect(), "EHOSTUNREACH")
		}, all(outcome.Survived), nil,
	}, {
		"a SYN is dropped once", "syn-drop:attempts=1", "", func(w *world) {
			w.connect()
			w.exchange()
		}, all(outcome.Survived), nil,
	}, {
		"the answer takes longer", "delay:by=50ms", "", func(w *world) {
			w.connect()
			w.exchange()
		}, all(outcome.Survived), nil,
	}, {
		"pieces", "slice:size=3", "", func(w *world) {
			w.connect()
			w.exchange()
		}, all(outcome.Survived), nil,
	}, {
		"a server that closed", "closed-socket:at=age=500ms", "", func(w *world) {
			w.connect()
			w.exchange()
			time.Sleep(800 * ms)
			w.client.Send("again")
			w.client.Recv()
		}, all(outcome.Survived), nil,
	}, {
		"a server that closed, and the client closes as well", "closed-socket:at=age=500ms", "", func(w *world) {
			w.connect()
			w.exchange()
			time.Sleep(800 * ms)
			w.close()
		}, all(outcome.Unfelt), all(outcome.Unknown),
	}, {
		"a peer that stops reading", "stall:at=age=300ms", "", func(w *world) {
			w.connect()
			w.exchange()
			time.Sleep(500 * ms)
			w.client.Send("again")
			w.client.Timeout(500 * ms)
			w.expect(w.client.Recv(), "EAGAIN")
		}, all(outcome.Survived), nil,
	}, {
		"a connection whose segments are signed", "reset:at=request", "", func(w *world) {
			w.client, _ = w.Client.Client(w.service.Addr())
			w.t.Cleanup(w.client.Close)
			w.sign(w.listener, w.Client)
			w.sign(w.client, w.Server)
			w.expect(w.client.Connect(w.service), "ok")
			w.accept()
			w.client.Send("request")
			w.client.Timeout(1500 * ms)
			w.expect(w.client.Recv(), "EAGAIN")
		}, all(outcome.NeverFired), nil, // it is left alone
	}, {
		"a partition", "partition:at=age=300ms", "", func(w *world) {
			w.connect()
			w.exchange()
			time.Sleep(500 * ms)
			w.client.Send("again")
		}, all(outcome.Survived), nil,
	}, {
		"a partition of a connection that is only closed", "partition:at=age=300ms", "", func(w *world) {
			w.connect()
			w.exchange()
			time.Sleep(700 * ms)
			w.close()
		}, all(outcome.Unfelt), nil,
	}, {
		"an answer that is cut", "unread-close:pass=1448", "", func(w *world) {
			w.connect()
			w.client.Send("request")
			w.whole(w.server, "request")
			w.server.Send(strings.Repeat("x", 30000))
			time.Sleep(100 * ms)
		}, map[string]outcome.Verdict{"client": outcome.Survived, "": outcome.Unknown}, nil,
	}, {
		"expired on both ends after both have closed", "idle-expire:after=400ms,then=rst-both", "", func(w *world) {
			w.connect()
			w.exchange()
			w.server.Close()
			w.client.Recv()
			w.close()
			time.Sleep(100 * ms)
			w.askBefore()
		}, all(outcome.NeverFired), map[string]outcome.Verdict{"": outcome.NeverFired, "router": outcome.Unknown}, // the ends' hosts are asked first
	}} {
		for _, at := range []string{"client", "router", "server"} {
			for _, v6 := range []bool{false, true} {
				if v6 && !lab.IPv6() {
					continue
				}
				for _, watched := range []bool{true, false} {
					t.Run(fmt.Sprintf("%s/%s/%s/watched %v", c.name, at, map[bool]string{false: "IPv4", true: "IPv6"}[v6], watched), func(t *testing.T) {
						t.Parallel()
						w := newWorld(t, at, v6, watched, c.spec)
						if c.firewall != "" {
							w.block()
						}
						c.play(w)
						want := c.want
						if !watched && c.unwatched != nil {
							want = c.unwatched
						}
						w.judge(want)
						if at != "server" || !watched || c.firewall == "" { // there the command is the server, which no firewall shields
							w.judgeEngine(want, watched)
						}
					})
				}
			}
		}
	}
}

// sign has the segments of a socket to and from a host signed (RFC 2385).
func (w *world) sign(a *lab.App, peer *lab.Node) {
	w.t.Helper()
	f, err := a.File()
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	sig := unix.TCPMD5Sig{Keylen: 3}
	copy(sig.Key[:], "key")
	if w.service.Addr().Is6() {
		sig.Addr.Family = unix.AF_INET6
		a := peer.V6.As16()
		copy(sig.Addr.Data[6:], a[:])
	} else {
		sig.Addr.Family = unix.AF_INET
		a := peer.V4.As4()
		copy(sig.Addr.Data[2:], a[:])
	}
	if err := unix.SetsockoptTCPMD5Sig(int(f.Fd()), unix.IPPROTO_TCP, unix.TCP_MD5SIG, &sig); err != nil {
		w.t.Skipf("this kernel signs no segments: %v", err)
	}
}

// TestTold holds that a program which only waits, and is told by the call that
// waits, has felt a reset, by the word of the kernel's tracepoints.
func TestTold(t *testing.T) {
	trace, err := tracepoint.Open(tracepoint.ReceivedReset, tracepoint.ErrorReported, tracepoint.CallFailed)
	if err != nil {
		t.Skip(err)
	}
	defer trace.Close()
	w := newWorld(t, "client", false, false, "reset:at=age=300ms")
	w.connect()
	w.exchange()
	w.expect(w.client.Recv(), "ECONNRESET")
	if !lab.Eventually(w.watcher.struck) { // the tap is a little later than the kernel
		t.Fatal("nothing was struck")
	}
	var sock uint64
	told := lab.Eventually(func() bool {
		done := false
		trace.Read(func(ev tracepoint.Event) {
			switch {
			case ev.Kind == tracepoint.ReceivedReset && ev.Remote == w.service:
				sock = ev.Sock
				w.watcher.kernel(faults.Client, outcome.ReceivedReset)
			case ev.Kind == tracepoint.CallFailed && ev.Sock == sock && sock != 0:
				w.watcher.kernel(faults.Client, outcome.ToldByCall)
				done = true
			}
		})
		return done
	})
	if !told {
		t.Error("nothing was told")
	}
	o := w.watcher.tr.Outcome(time.Since(w.watcher.start), faults.Client)
	if v := outcome.Judge(outcome.Case{Outcome: o, Command: outcome.Succeeded}); v != outcome.Survived || o.Felt.Evidence != outcome.ToldByCall {
		t.Errorf("%s: %+v", v, o)
	}
}

// TestProbeAfter holds that a probe after the strike tells whether an idle end
// elsewhere has accepted a RST: one that has answers with a RST, one behind a
// firewall that drops RSTs with an ACK.
func TestProbeAfter(t *testing.T) {
	for _, firewall := range []bool{false, true} {
		for _, v6 := range []bool{false, true} {
			if v6 && !lab.IPv6() {
				continue
			}
			w := newWorld(t, "router", v6, true, "reset:at=age=300ms")
			if firewall {
				w.block()
			}
			own, _, err := injector.Sign(w.Router.NS)
			if err != nil {
				t.Fatal(err)
			}
			raw := minirun.NewRaw(t, w.Router.NS, own)
			w.connect()
			w.exchange()
			lab.Eventually(w.watcher.struck)
			time.Sleep(100 * ms)
			w.watcher.mu.Lock()
			at := w.watcher.tr.Last + 100*ms
			ack := w.watcher.tr.Half[faults.Original].Acked
			f := packet.Fields{Src: w.service, Dst: w.client.Local(), TTL: 64, DF: true, Flags: packet.ACK, Window: 1000,
				Seq: ack.Add(1<<31 - 5), Ack: w.watcher.tr.Half[faults.Original].Next}
			pkt := f.Append(nil, []byte{0})
			s, _ := packet.Parse(pkt)
			w.watcher.last = max(w.watcher.last, at)
			w.watcher.tr.Forged(w.watcher.last, faults.Reply, s)
			w.watcher.mu.Unlock()
			if err := raw.Send(pkt); err != nil {
				t.Fatal(err)
			}
			time.Sleep(200 * ms)
			w.watcher.mu.Lock()
			o := w.watcher.tr.Outcome(time.Since(w.watcher.start), faults.Client)
			w.watcher.mu.Unlock()
			want := outcome.Nobody
			if firewall {
				want = outcome.AnsweredProbe
			}
			if o.Accepted.Evidence != want {
				t.Errorf("IPv6 %v, firewall %v: accepted %s (%s)", v6, firewall, o.Accepted.Answer, o.Accepted.Evidence)
				for _, line := range w.watcher.seen {
					t.Log(line)
				}
			}
		}
	}
}

// block has the client's firewall drop every RST.
func (w *world) block() {
	minirun.Shell(w.t, w.Client.NS, "nft add table inet fw; nft add chain inet fw c '{ type filter hook input priority 0; }'; nft add rule inet fw c tcp flags rst drop")
}

// close closes the client's socket.
func (w *world) close() {
	w.local()
	w.client.Close()
}

func (w *world) expect(got, want string) {
	w.t.Helper()
	if got != want {
		w.t.Errorf("the call says %s, want %s", got, want)
	}
}

// judgeEngine holds that the engine says of its own what the watcher does. Unwatched it
// may know less, since it forgets what was outstanding on a connection that it puts
// away, and it may know from a socket of its host that there was nothing to strike.
func (w *world) judgeEngine(wants map[string]outcome.Verdict, watched bool) {
	w.t.Helper()
	time.Sleep(more) // silence counts from 3 s on
	w.stop()
	f := w.engine.Stats().Rules[0].Faults[0]
	o := f.Settled.Furthest
	want, ok := wants[w.at]
	if !ok {
		want = wants[""]
	}
	got := outcome.Judge(outcome.Case{Outcome: o, Command: outcome.Succeeded, Prevented: f.Settled.Prevented.How != features.NotPrevented})
	known := got == want || !watched && (got == outcome.Unknown || got == outcome.NeverFired && want == outcome.Unknown && o.Why == outcome.ClosedBefore)
	if !known {
		w.t.Errorf("the engine says %s, want %s", got, want)
	}
	if !known || testing.Verbose() {
		w.t.Logf("engine: %+v; sent %s: %s; accepted %s: %s; felt %s: %s", f, o.Sent.Answer, o.Sent.Evidence,
			o.Accepted.Answer, o.Accepted.Evidence, o.Felt.Answer, o.Felt.Evidence)
	}
}

func (w *world) judge(wants map[string]outcome.Verdict) {
	w.t.Helper()
	time.Sleep(200 * ms)
	w.askKernel()
	time.Sleep(wait)
	w.watcher.mu.Lock()
	defer w.watcher.mu.Unlock()
	o := w.watcher.tr.Outcome(time.Since(w.watcher.start)+more, faults.Client)
	want, ok := wants[w.at]
	if !ok {
		want = wants[""]
	}
	got := outcome.Judge(outcome.Case{Outcome: o, Command: outcome.Succeeded})
	if got != want {
		w.t.Errorf("%s, want %s", got, want)
	}
	if got != want || testing.Verbose() {
		w.t.Logf("struck %v (%s); sent %s: %s; accepted %s: %s; felt %s: %s", o.Struck, o.Why, o.Sent.Answer, o.Sent.Evidence,
			o.Accepted.Answer, o.Accepted.Evidence, o.Felt.Answer, o.Felt.Evidence)
		for _, line := range w.watcher.seen {
			w.t.Log(line)
		}
	}
}
