package injector

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/kerneltest"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/lab"
	"golang.org/x/sys/unix"
)

// loopbacks are the addresses of this host in each family that it has.
func loopbacks() []string {
	if !lab.IPv6() {
		return []string{"127.0.0.1"}
	}
	return []string{"127.0.0.1", "::1"}
}

// TestSetsByVerdict checks that a verdict changes the kernel's sets by itself:
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
	return startWithRoom(t, ns, bySet, 0, cfg)
}

// startWithRoom does it with sets that have room for that many flows; 0: as usual.
func startWithRoom(t testing.TB, ns *os.File, bySet bool, room uint32, cfg Config) (*Injector, func()) {
	t.Helper()
	cfg.NetNS, cfg.Watchdog = ns, -1 // a debugger may stop a test
	inj, err := newInjector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	inj.bySet, inj.setRoom = bySet, room
	return inj, begin(t, inj)
}

// begin begins the run of an injector, and returns what ends it.
func begin(t testing.TB, inj *Injector) (stop func()) {
	t.Helper()
	if err := inj.start(context.Background()); err != nil {
		t.Fatalf("run: %v", err)
	}
	stop = sync.OnceFunc(func() {
		if err := inj.Stop(); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
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

// TestTwoAtOnce checks that two instances in one namespace do not disturb each
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

// TestQueuesTaken checks that nobody is told to get rights that they have when
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
	_, err := Start(context.Background(), Config{NetNS: ns, Watchdog: -1, Rules: []Rule{{Faults: fake(faults.Diversion{SYN: true})}}})
	if !errors.Is(err, errQueuesTaken) || errors.Is(err, ErrPermission) {
		t.Errorf("run: %v, want %v", err, errQueuesTaken)
	}
	if left := kerneltest.Tables(t, ns); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestReadyIsTold checks that whoever listens has been told that the rules are in when
// Start returns, however slow he is, and that it returns where nobody listens.
func TestReadyIsTold(t *testing.T) {
	ns := kerneltest.NetNS(t)
	rules := []Rule{{Faults: fake(faults.Diversion{SYN: true})}}
	var told atomic.Bool
	for _, listen := range []func(Event){nil, func(ev Event) {
		time.Sleep(50 * time.Millisecond)
		told.Store(ev.Kind == Ready)
	}} {
		i, err := Start(context.Background(), Config{NetNS: ns, Watchdog: -1, Rules: rules, OnEvent: listen})
		if err != nil {
			t.Fatal(err)
		}
		if listen != nil && !told.Load() {
			t.Error("the run has begun, and nobody was told")
		}
		if err := i.Stop(); err != nil {
			t.Error(err)
		}
	}
}
