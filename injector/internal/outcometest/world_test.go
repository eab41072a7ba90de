// Package outcometest plays faults of the real engine on real connections, and checks
// what package outcome says of them at each vantage.
package outcometest

import (
	"errors"
	"flag"
	"fmt"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/internal/minirun"
	"github.com/faultctl/faultctl/injector/internal/sockdiag"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/strike"
	"github.com/faultctl/faultctl/lab"
	"golang.org/x/sys/unix"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == fmt.Sprint(runtime.GOMAXPROCS(0)) {
		f.Value.Set("16") // these tests wait for time to pass, not for a processor
	}
	os.Exit(lab.Main(m.Run))
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
	blocked  bool // the client's firewall drops RSTs
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

// block has the client's firewall drop every RST.
func (w *world) block() {
	w.blocked = true
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
