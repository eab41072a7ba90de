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
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/strike"
	"github.com/faultctl/faultctl/lab"
	"github.com/faultctl/faultctl/lab/userns"
)

func TestMain(m *testing.M) {
	runRole()
	forgetFlags()
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == fmt.Sprint(runtime.GOMAXPROCS(0)) {
		f.Value.Set("16") // these tests spend most of their time waiting
	}
	if userns.Caged() { // as faulttest.Main does, see TestStruck
		os.Exit(m.Run())
	}
	os.Exit(lab.Main(m.Run))
}

// forgetFlags removes flags from the environment: the user who runs the tests may
// have set some for other runs.
func forgetFlags() {
	os.Unsetenv("SUDO_UID") // commands would run as that user
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

// testbed is a lab with one service, with faultctl at one vantage and over one
// address family.
type testbed struct {
	*lab.Lab
	t       *testing.T
	at      vantage
	from    *lab.Node // where the client runs
	service netip.AddrPort
	ln      *lab.App
	env     []string             // environment of each faultctl that start starts
	attr    *syscall.SysProcAttr // how it is started; may be nil

	mu     sync.Mutex
	events []injector.Event
}

// everywhere runs a test over both families at every vantage.
func everywhere(t *testing.T, test func(t *testing.T, w *testbed)) {
	for _, v6 := range []bool{false, true} {
		for _, at := range vantages {
			t.Run(fmt.Sprintf("%s/%s", map[bool]string{false: "IPv4", true: "IPv6"}[v6], at), func(t *testing.T) {
				t.Parallel()
				test(t, newTestbed(t, at, v6))
			})
		}
	}
}

func newTestbed(t *testing.T, at vantage, v6 bool) *testbed {
	t.Helper()
	if v6 && !lab.IPv6() {
		lacks(t, "this kernel has no IPv6")
	}
	l, err := lab.New()
	if err != nil {
		t.Fatalf("build the lab: %v", err)
	}
	t.Cleanup(l.Close)
	w := &testbed{Lab: l, t: t, at: at, from: l.Client}
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

// lacks ends a test for which something is missing: it skips the test, or fails
// it if FAULTCTL_REQUIRE is 1.
func lacks(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("FAULTCTL_REQUIRE") == "1" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// lacksRoot ends a test that only root of the host can run. In a user namespace
// nobody is that, so the test is skipped there in any case.
func lacksRoot(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("FAULTCTL_INSIDE") != "" {
		t.Skip(what)
	}
	lacks(t, what)
}

func (w *testbed) listen(at netip.AddrPort) (*lab.App, netip.AddrPort) {
	w.t.Helper()
	ln, at, err := w.Server.Listen(at, 16)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(ln.Close)
	return ln, at
}

// node is the host on which faultctl runs.
func (w *testbed) node() *lab.Node {
	switch w.at {
	case atClient:
		return w.Client
	case atRouter:
		return w.Router
	}
	return w.Server
}

// open opens a connection to the service.
func (w *testbed) open() (client, server *lab.App) { return w.openTo(w.ln, w.service) }

func (w *testbed) openTo(ln *lab.App, to netip.AddrPort) (client, server *lab.App) {
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

func (w *testbed) client() *lab.App {
	w.t.Helper()
	c, err := w.from.Client(w.service.Addr())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	return c
}

// capture records what crosses the client's end of the wire.
func (w *testbed) capture() *lab.Capture {
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

// running is an active fault.
type running struct {
	*injector.Injector
	stop func()
}

// inject runs faults, each a SPEC as on the command line,
// name:knob=value,knob=value. It returns once the rules are installed.
func (w *testbed) inject(specs ...string) *running {
	w.t.Helper()
	rule := injector.Rule{Match: target.Matcher{To: []target.Endpoint{{LowPort: 5432, HighPort: 5432}}}}
	for _, s := range specs {
		rule.Faults = append(rule.Faults, strike.Fault(w.t, s))
	}
	return w.run(injector.Config{Rules: []injector.Rule{rule}})
}

func (w *testbed) run(cfg injector.Config) *running {
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

// fired reports whether a fault has performed that action on that side.
func (w *testbed) fired(action faults.Action, to faults.Side) bool {
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

// healthy checks that a connection works as if faultctl were not there: no
// segment of it is sent twice. Afterwards the connection is quiet: everything is
// acknowledged, and nothing will be sent. A machine that stalls for 200 ms makes
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

// retransmitted counts the segments that the ends have retransmitted.
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

// bystander opens a connection to another port and returns a function that checks
// that it was not affected.
func (w *testbed) bystander() func() {
	w.t.Helper()
	ln, at := w.listen(netip.AddrPortFrom(w.service.Addr(), 5433))
	client, server := w.openTo(ln, at)
	healthy(w.t, "bystander before", client, server)
	return func() {
		w.t.Helper()
		healthy(w.t, "bystander after", client, server)
	}
}
