package integration

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faulttest"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/strike"
	"github.com/faultctl/faultctl/lab"
)

func TestMain(m *testing.M) {
	play()
	forgetFlags()
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == fmt.Sprint(runtime.GOMAXPROCS(0)) {
		f.Value.Set("16") // these tests wait for time to pass, not for a processor
	}
	os.Exit(faulttest.Main(m))
}

// forgetFlags takes flags out of the environment: whoever runs the tests may have
// some there for runs of their own.
func forgetFlags() {
	ours := []string{"INSIDE", "CAGE", "CAGED", "REQUIRE", "KILLS", "MEASURE"}
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if flag, is := strings.CutPrefix(name, "FAULTCTL_"); is && !slices.Contains(ours, flag) && !strings.HasPrefix(flag, "TEST_") {
			os.Unsetenv(name)
		}
	}
}

// vantage is where faultctl runs in a test.
type vantage string

const (
	atClient vantage = "client"
	atServer vantage = "server"
	atRouter vantage = "router"
	loopback vantage = "loopback"
)

var vantages = []vantage{atClient, atServer, atRouter, loopback}

// world is a lab with one service, seen from one vantage over one family.
type world struct {
	*lab.Lab
	t       *testing.T
	at      vantage
	from    *lab.Node // where the client runs
	service netip.AddrPort
	ln      *lab.App
	env     []string             // of every faultctl that start starts
	attr    *syscall.SysProcAttr // and how it is started; nil as usual

	mu     sync.Mutex
	events []injector.Event
}

// everywhere runs a test over both families from every vantage.
func everywhere(t *testing.T, test func(t *testing.T, w *world)) {
	for _, v6 := range []bool{false, true} {
		for _, at := range vantages {
			t.Run(fmt.Sprintf("%s/%s", map[bool]string{false: "IPv4", true: "IPv6"}[v6], at), func(t *testing.T) {
				t.Parallel()
				test(t, newWorld(t, at, v6))
			})
		}
	}
}

func newWorld(t *testing.T, at vantage, v6 bool) *world {
	t.Helper()
	if v6 && !lab.IPv6() {
		lacks(t, "this kernel has no IPv6")
	}
	l, err := lab.New()
	if err != nil {
		t.Fatalf("build the lab: %v", err)
	}
	t.Cleanup(l.Close)
	w := &world{Lab: l, t: t, at: at, from: l.Client}
	addr := l.Server.V4
	if v6 {
		addr = l.Server.V6
	}
	if at == loopback {
		w.from, addr = l.Server, netip.MustParseAddr("127.0.0.1")
		if v6 {
			addr = netip.MustParseAddr("::1")
		}
	}
	w.ln, w.service = w.listen(netip.AddrPortFrom(addr, 5432))
	return w
}

// lacks ends a test for which something is missing here: it is skipped, and fails
// where it must not be.
func lacks(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("FAULTCTL_REQUIRE") == "1" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// lacksRoot ends a test that only root of the host can play. In a user namespace
// of its own nobody is that, so nothing is missing there.
func lacksRoot(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("FAULTCTL_INSIDE") != "" {
		t.Skip(what)
	}
	lacks(t, what)
}

func (w *world) listen(at netip.AddrPort) (*lab.App, netip.AddrPort) {
	w.t.Helper()
	ln, at, err := w.Server.Listen(at, 16)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(ln.Close)
	return ln, at
}

// node is where faultctl runs.
func (w *world) node() *lab.Node {
	switch w.at {
	case atClient:
		return w.Client
	case atRouter:
		return w.Router
	}
	return w.Server
}

// open opens a connection to the service.
func (w *world) open() (client, server *lab.App) { return w.openTo(w.ln, w.service) }

func (w *world) openTo(ln *lab.App, to netip.AddrPort) (client, server *lab.App) {
	w.t.Helper()
	client = w.client()
	if got := client.Connect(to); got != "ok" {
		w.t.Fatalf("connect: %s", got)
	}
	server, err := ln.Accept()
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(server.Close)
	return client, server
}

func (w *world) client() *lab.App {
	w.t.Helper()
	c, err := w.from.Client(w.service.Addr())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	return c
}

// capture records what crosses the wire at the client's end.
func (w *world) capture() *lab.Capture {
	w.t.Helper()
	iface := "eth0"
	if w.at == loopback {
		iface = "lo"
	}
	c, err := w.from.Capture(iface)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	return c
}

// running is a fault under way.
type running struct {
	*injector.Injector
	stop func()
}

// inject runs a fault, as people type it: name:knob=value,knob=value. It
// returns once the rules are in.
func (w *world) inject(specs ...string) *running {
	w.t.Helper()
	rule := injector.Rule{Match: target.Matcher{To: []target.Endpoint{{LowPort: 5432, HighPort: 5432}}}}
	for _, s := range specs {
		rule.Faults = append(rule.Faults, strike.Fault(w.t, s))
	}
	return w.run(injector.Config{Rules: []injector.Rule{rule}})
}

func (w *world) run(cfg injector.Config) *running {
	w.t.Helper()
	cfg.NetNS = w.node().NS
	cfg.OnEvent = func(ev injector.Event) {
		w.mu.Lock()
		w.events = append(w.events, ev)
		w.mu.Unlock()
	}
	inj, stop := strike.Begin(w.t, cfg)
	w.t.Cleanup(stop)
	return &running{inj, stop}
}

// fired reports whether a fault has done that to that side.
func (w *world) fired(action faults.Action, to faults.Side) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ev := range w.events {
		if ev.Kind == injector.Fired && ev.Action == action && ev.To == to {
			return true
		}
	}
	return false
}

// says checks the results of calls, in order.
func says(t *testing.T, what string, got ...string) func(want ...string) {
	return func(want ...string) {
		t.Helper()
		if strings.Join(got, ", ") != strings.Join(want, ", ") {
			t.Errorf("%s: %s, want %s", what, strings.Join(got, ", "), strings.Join(want, ", "))
		}
	}
}

// healthy checks that a connection works, and works as if nobody were there:
// no segment of it is sent twice. It leaves the connection quiet: everything is
// acknowledged, nothing will be sent. A machine that stood still for 200 ms makes
// TCP send twice as well, but not three times in a row.
func healthy(t *testing.T, what string, client, server *lab.App) {
	t.Helper()
	var infos [2]lab.Info
	for range 3 {
		before := retransmitted(t, client, server)
		for range 3 {
			says(t, what, client.Send("ping"), server.Recv(), server.Send("pong"), client.Recv())("4", "ping", "4", "pong")
		}
		for i, a := range []*lab.App{client, server} {
			var err error
			if !lab.Eventually(func() bool { infos[i], err = a.Info(); return err != nil || infos[i].Unacked == 0 }) || err != nil {
				t.Errorf("%s: %+v, %v", what, infos[i], err)
				return
			}
		}
		if t.Failed() || retransmitted(t, client, server) == before {
			return
		}
	}
	t.Errorf("%s: sent twice: %+v", what, infos)
}

// retransmitted counts the segments that the two have sent again.
func retransmitted(t *testing.T, ends ...*lab.App) (n uint32) {
	t.Helper()
	for _, a := range ends {
		i, err := a.Info()
		if err != nil {
			t.Fatal(err)
		}
		n += i.TotalRetrans
	}
	return n
}

// bystander opens a connection to another port and returns the check that it
// never noticed.
func (w *world) bystander() func() {
	w.t.Helper()
	ln, at := w.listen(netip.AddrPortFrom(w.service.Addr(), 5433))
	client, server := w.openTo(ln, at)
	healthy(w.t, "bystander before", client, server)
	return func() {
		w.t.Helper()
		healthy(w.t, "bystander after", client, server)
	}
}
