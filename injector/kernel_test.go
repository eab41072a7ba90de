package injector

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/injector/internal/kerneltest"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/lab"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	helper()
	helperServer()
	os.Exit(lab.Main(m.Run))
}

// newApplier applies rulesets in a namespace as this kernel can, until the test
// is over.
func newApplier(t testing.TB, ns *os.File) *applier {
	t.Helper()
	can, err := probeKernel(ns)
	if err != nil {
		t.Fatal(err)
	}
	a, err := openNftables(ns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.close() })
	a.nftQueue, a.owned = can.nftQueue, can.tableOwner
	return a
}

// TestRulesetInKernel puts every golden ruleset into a kernel, whole.
func TestRulesetInKernel(t *testing.T) {
	for name, cfg := range rulesets {
		t.Run(name, func(t *testing.T) {
			ns := kerneltest.NetNS(t)
			a := newApplier(t, ns)
			rs := newRuleset(&cfg, "faultctl_1", 61440, uncutOf(&cfg))
			if err := a.apply(rs); err != nil {
				t.Fatal(err)
			}
			for _, c := range rs.chains {
				rules, err := a.conn.GetRules(a.table, a.chains[c.name])
				if err != nil {
					t.Fatal(err)
				}
				if len(rules) != len(c.rules) {
					t.Errorf("chain %s has %d rules in the kernel, want %d", c.name, len(rules), len(c.rules))
				}
			}
			if err := a.disarm(); err != nil {
				t.Error(err)
			}
			if err := a.remove(); err != nil {
				t.Error(err)
			}
			if got := kerneltest.Tables(t, ns); len(got) != 0 {
				t.Errorf("tables left: %v", got)
			}
		})
	}
}

// loopbacks are the addresses of this host in each family that it has.
func loopbacks() []string {
	if !lab.IPv6() {
		return []string{"127.0.0.1"}
	}
	return []string{"127.0.0.1", "::1"}
}

// TestSetsByVerdict holds that a verdict changes the kernel's sets by itself:
// with and without that ability, a flow that no fault wants enters user space
// once, and one that is captured enters it whole.
func TestSetsByVerdict(t *testing.T) {
	for _, bySet := range []bool{false, true} {
		for _, addr := range loopbacks() {
			for _, pick := range []target.Pick{{}, {Skip: 1000}} {
				want := "chosen"
				if pick.Skip != 0 {
					want = "released"
				}
				t.Run(map[bool]string{false: "priority", true: "netlink"}[bySet]+"/"+addr+"/"+want, func(t *testing.T) {
					ns := kerneltest.NetNS(t)
					inj, stop := startInjector(t, ns, bySet, Config{Rules: []Rule{{
						Match: target.Matcher{To: []target.Endpoint{{LowPort: 5432, HighPort: 5432}}}, Pick: pick,
						Faults: fake(faults.Diversion{All: true}),
					}}})
					again := talk(t, netip.AddrPortFrom(netip.MustParseAddr(addr), 5432), 20)
					diverted := inj.totals.diverted.Load()
					stop()
					if got := kerneltest.Tables(t, ns); len(got) != 0 {
						t.Errorf("tables left: %v", got)
					}
					if want == "released" && diverted != 1+again {
						t.Errorf("%d packets of a released flow entered user space, want 1; %d SYNs were sent again", diverted, again)
					}
					if want == "chosen" && diverted < 40 {
						t.Errorf("%d packets of a flow diverted whole entered user space, want all 40 or more", diverted)
					}
				})
			}
		}
	}
}

// startInjector runs an injector in the namespace until the returned function
// is called.
func startInjector(t testing.TB, ns *os.File, bySet bool, cfg Config) (*Injector, func()) {
	t.Helper()
	ready := make(chan struct{})
	cfg.OnEvent = func(ev Event) {
		if ev.Kind == Ready {
			close(ready)
		}
	}
	cfg.NetNS = ns
	return runInjector(t, bySet, cfg, ready)
}

// startInjectorWith does the same for a test that listens itself, and closes
// ready when it hears that.
func startInjectorWith(t *testing.T, ns *os.File, cfg Config, tell func(Event), ready chan struct{}) (*Injector, func()) {
	t.Helper()
	cfg.NetNS, cfg.OnEvent = ns, tell
	return runInjector(t, false, cfg, ready)
}

func runInjector(t testing.TB, bySet bool, cfg Config, ready chan struct{}) (*Injector, func()) {
	t.Helper()
	return runInjectorWith(t, bySet, 0, cfg, ready)
}

// runInjectorWith does it with sets that have room for so many flows.
func runInjectorWith(t testing.TB, bySet bool, room uint32, cfg Config, ready chan struct{}) (*Injector, func()) {
	t.Helper()
	cfg.Watchdog = -1 // a debugger may stop a test
	inj, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	inj.bySet, inj.room = bySet, room
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- inj.Run(ctx) }()
	select {
	case <-ready:
	case err := <-ended:
		cancel()
		t.Fatalf("run: %v", err)
	}
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	}
	t.Cleanup(stop)
	return inj, stop
}

// talk opens a connection to itself and sends a line to and fro n times. It
// returns how often the client sent its SYN again: it does on a machine that
// stood still for a second.
func talk(t *testing.T, at netip.AddrPort, n int) (again uint64) {
	t.Helper()
	return talkFrom(t, net.Dialer{Timeout: time.Minute}, at, n)
}

func talkFrom(t *testing.T, d net.Dialer, at netip.AddrPort, n int) (again uint64) {
	t.Helper()
	ln, err := net.Listen("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		io.Copy(c, c)
		c.Close()
	}()
	c, err := d.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := onSocket(c, func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			again = uint64(info.Total_retrans)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(time.Minute))
	buf := make([]byte, 5)
	for range n {
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, buf); err != nil {
			t.Fatal(err)
		}
	}
	return again
}

// TestTwoAtOnce holds that two instances in one namespace do not disturb each
// other: a verdict's signals reach only the sets of its own instance.
func TestTwoAtOnce(t *testing.T) {
	ns := kerneltest.NetNS(t)
	matcher := target.Matcher{To: []target.Endpoint{{LowPort: 5432, HighPort: 5432}}}
	all := fake(faults.Diversion{All: true})
	whole, stopWhole := startInjector(t, ns, false, Config{Rules: []Rule{{Match: matcher, Faults: all}}})
	once, stopOnce := startInjector(t, ns, false, Config{Rules: []Rule{{Match: matcher, Pick: target.Pick{Skip: 1000}, Faults: all}}})
	again := talk(t, netip.MustParseAddrPort("127.0.0.1:5432"), 20)
	if got := once.totals.diverted.Load(); got != 1+again {
		t.Errorf("the instance that released the flow saw %d packets, want 1", got)
	}
	if got := whole.totals.diverted.Load(); got < 40 {
		t.Errorf("the instance that wants the flow whole saw %d packets, want 40 or more", got)
	}
	stopOnce()
	stopWhole()
	for _, i := range []*Injector{whole, once} {
		if n := i.Stats().Overruns; n != 0 {
			t.Errorf("%d overruns counted, want none", n)
		}
	}
	if got := kerneltest.Tables(t, ns); len(got) != 0 {
		t.Errorf("tables left: %v", got)
	}
}

// TestManyFiles holds that a program with very many open files is told so, where
// the library below would panic.
func TestManyFiles(t *testing.T) {
	ns := kerneltest.NetNS(t)
	open := func() error {
		a, err := openNftables(ns)
		if err == nil {
			err = a.close()
		}
		return err
	}
	if err := open(); err != nil {
		t.Error(err)
	}
	var had unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &had); err != nil {
		t.Fatal(err)
	}
	if had.Max <= fdSetSize {
		t.Skipf("this user may open %d files, and it is about what comes after %d", had.Max, fdSetSize)
	}
	more := unix.Rlimit{Cur: min(4*fdSetSize, had.Max), Max: had.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &more); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &had)
	for fd := 0; fd < fdSetSize; {
		var err error
		if fd, err = unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
	}
	if err := open(); err == nil || !strings.Contains(err.Error(), "more than 1024 files open") {
		t.Errorf("more than 1024 files are open: %v", err)
	}
}

// TestUnknownIdleTime holds that a flow does not count as idle because the kernel
// could not be asked.
func TestUnknownIdleTime(t *testing.T) {
	ns := kerneltest.NetNS(t)
	cfg := Config{Rules: []Rule{{Faults: fake(faults.Diversion{Idle: time.Hour})}}}
	a := newApplier(t, ns)
	if err := a.apply(newRuleset(&cfg, "faultctl_1", nfqueue.First, 0)); err != nil {
		t.Fatal(err)
	}
	ask, err := openNftables(ns)
	if err != nil {
		t.Fatal(err)
	}
	ask.reads(a)
	sets := &tableSets{write: a, read: ask, rules: newRuleStates(cfg.Rules)}
	flow := flowKey{netip.MustParseAddrPort("10.0.0.1:40000"), netip.MustParseAddrPort("10.0.0.2:5432")}
	if got := sets.idle(0, flow); got != time.Hour {
		t.Errorf("a flow that is not in the set was idle for %v, want at least an hour", got)
	}
	if err := ask.netlink.Close(); err != nil {
		t.Fatal(err)
	}
	if got := sets.idle(0, flow); got != 0 {
		t.Errorf("a flow that nobody can ask for was idle for %v, want 0: it is not known", got)
	}
}

// TestRefusedChange holds that a change which the kernel refuses leaves the rules
// as they were, and does not spoil the next one.
func TestRefusedChange(t *testing.T) {
	a := newApplier(t, kerneltest.NetNS(t))
	compile := func(addrs ...string) *ruleset {
		m := target.Matcher{}
		for _, addr := range addrs {
			m.To = append(m.To, target.Endpoint{Prefix: netip.MustParsePrefix(addr)})
		}
		return newRuleset(&Config{Rules: []Rule{{Match: m, Faults: fake(faults.Diversion{Idle: time.Hour})}}}, "faultctl_1", nfqueue.First, 0)
	}
	before, after, wrong := compile("10.0.0.1/32"), compile("10.0.0.1/32", "fd00::1/128"), compile("10.0.0.1/32", "fd00::1/128")
	if err := a.apply(before); err != nil {
		t.Fatal(err)
	}
	wrong.chains[len(wrong.chains)-1].add(verdict("goto nowhere"))
	if err := a.update(before, wrong); err == nil {
		t.Fatal("a jump to nowhere was taken")
	}
	if err := a.update(before, after); err != nil {
		t.Errorf("the next change: %v", err)
	}
	for _, c := range after.chains {
		if rules, err := a.conn.GetRules(a.table, a.chains[c.name]); err != nil || len(rules) != len(c.rules) {
			t.Errorf("chain %s has %d rules in the kernel, want %d: %v", c.name, len(rules), len(c.rules), err)
		}
	}
}

// TestQueuesTaken holds that nobody is told to get rights that they have when
// all numbers are taken.
func TestQueuesTaken(t *testing.T) {
	ns := kerneltest.NetNS(t)
	for n := uint16(nfqueue.First); n <= nfqueue.Last; n++ {
		qs, err := nfqueue.Open(ns, n, 1, nfqueue.Copying{})
		if err != nil {
			t.Fatal(err)
		}
		defer qs[0].Close()
	}
	inj, err := New(Config{NetNS: ns, Watchdog: -1, Rules: []Rule{{Faults: fake(faults.Diversion{SYN: true})}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := inj.Run(context.Background()); !errors.Is(err, errQueuesTaken) || errors.Is(err, ErrPermission) {
		t.Errorf("run: %v, want %v", err, errQueuesTaken)
	}
	if left := kerneltest.Tables(t, ns); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
