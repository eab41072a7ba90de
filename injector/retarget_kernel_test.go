package injector

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/kerneltest"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/lab"
	"golang.org/x/sys/unix"
)

// connection is a conversation over loopback that a test holds open.
type connection struct {
	net.Conn
	t      *testing.T
	server *net.TCPConn
}

// connect opens a connection to a listener of its own at that address.
func connect(t *testing.T, at string) *connection {
	t.Helper()
	ln, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.DialTimeout("tcp", at, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	go io.Copy(s, s)
	conn := &connection{c, t, s.(*net.TCPConn)}
	conn.talk()
	return conn
}

// talk sends a line to and fro, and waits until no packet of that is under way:
// the acknowledgment of the answer would come 40 ms later, perhaps while another
// connection's packets are counted.
func (c *connection) talk() {
	c.t.Helper()
	c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := c.Write([]byte("hello")); err != nil {
		c.t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
		c.t.Fatal(err)
	}
	ack := func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1) }
	if err := onSocket(c.Conn, ack); err != nil {
		c.t.Fatal(err)
	}
	for unacked := uint32(1); unacked > 0; time.Sleep(100 * time.Microsecond) {
		if err := onSocket(c.server, func(fd int) error {
			info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
			if err == nil {
				unacked = info.Unacked
			}
			return err
		}); err != nil {
			c.t.Fatal(err)
		}
	}
}

// onSocket does something to the socket of a connection.
func onSocket(c net.Conn, do func(fd int) error) error {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	var done error
	return errors.Join(raw.Control(func(fd uintptr) { done = do(int(fd)) }), done)
}

// bothWays runs a test with verdicts that change the kernel's sets, and with
// verdicts that cannot.
func bothWays(t *testing.T, test func(t *testing.T, bySet bool)) {
	for _, bySet := range []bool{false, true} {
		t.Run(map[bool]string{false: "priority", true: "netlink"}[bySet], func(t *testing.T) { test(t, bySet) })
	}
}

// judged reports whether packets of c are handed over. A connection that is to
// be let go may have to be asked about first.
func judged(i *Injector, c *connection) bool {
	c.t.Helper()
	c.talk()
	before := i.totals.diverted.Load()
	c.talk()
	return i.totals.diverted.Load() > before
}

// A share that grows takes in open connections, one that falls lets none go.
func TestSetShare(t *testing.T) {
	bothWays(t, func(t *testing.T, bySet bool) {
		ns := kerneltest.NetNS(t)
		i, stop := startInjector(t, ns, bySet, Config{Rules: []Rule{{
			Match: target.Matcher{To: []target.Endpoint{{LowPort: 5432, HighPort: 5432}}}, Pick: target.Pick{Share: target.ShareOf(0)},
			Faults: fake(faults.Diversion{All: true}),
		}}})
		early := connect(t, "127.0.0.1:5432")
		if judged(i, early) {
			t.Error("no connection was to be chosen, and one is judged")
		}
		if err := i.SetShare(0, 1); err != nil {
			t.Fatal(err)
		}
		if !judged(i, early) {
			t.Error("an open connection was not taken in when the share grew")
		}
		if err := i.SetShare(0, 0); err != nil {
			t.Fatal(err)
		}
		if !judged(i, early) {
			t.Error("a chosen connection was let go when the share fell")
		}
		if judged(i, connect(t, "127.0.0.2:5432")) {
			t.Error("a connection was chosen by a share of nought")
		}
		stop()
		if got := i.Stats().Rules[0]; got.Flows != 2 || got.Chosen != 1 {
			t.Errorf("%d connections matched, %d chosen; want 2, 1", got.Flows, got.Chosen)
		}
		if err := i.SetShare(0, 1); err != nil {
			t.Errorf("after the run: %v", err)
		}
	})
}

// A rule that gets another target keeps its connections, and takes in what is
// open at the other, of a family that it had no rules for.
func TestRetarget(t *testing.T) {
	if !lab.IPv6() {
		t.Skip("this kernel has no IPv6")
	}
	bothWays(t, func(t *testing.T, bySet bool) {
		ns := kerneltest.NetNS(t)
		to := func(addrs ...string) (m target.Matcher) {
			for _, a := range addrs {
				m.To = append(m.To, target.Endpoint{Prefix: netip.MustParsePrefix(a), LowPort: 5432, HighPort: 5432})
			}
			return m
		}
		i, stop := startInjector(t, ns, bySet, Config{Rules: []Rule{
			{Match: target.Matcher{To: []target.Endpoint{{LowPort: 1, HighPort: 1}}}, Faults: fake(faults.Diversion{All: true})},
			{Match: to("127.0.0.1/32"), Faults: fake(faults.Diversion{All: true, Idle: time.Hour})},
		}})
		first, second, third := connect(t, "127.0.0.1:5432"), connect(t, "127.0.0.2:5432"), connect(t, "[::1]:5432")
		if !judged(i, first) || judged(i, second) || judged(i, third) {
			t.Error("the first target is not the one that the rule had")
		}
		if err := i.Retarget(1, to("127.0.0.2/32", "::1/128")); err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]*connection{"the first": first, "the second": second, "the IPv6": third} {
			if !judged(i, c) {
				t.Errorf("%s connection is not judged", name)
			}
		}
		sets := &tableSets{write: i.kernel.nft, read: i.kernel.ask, rules: i.rules}
		if sets.idle(1, flowKey{netip.MustParseAddrPort("[::1]:1"), netip.MustParseAddrPort("[::1]:5432")}) == 0 {
			t.Error("the idle time of a flow of the other family cannot be read")
		}
		if judged(i, connect(t, "127.0.0.1:5432")) {
			t.Error("a new connection to the old target is judged")
		}
		stop()
		if got := i.Stats().Rules[1]; got.Chosen != 3 {
			t.Errorf("%d connections chosen, want 3", got.Chosen)
		}
		if n := i.Stats().Overruns; n != 0 {
			t.Errorf("%d overruns counted, want none", n)
		}
		if got := kerneltest.Tables(t, ns); len(got) != 0 {
			t.Errorf("tables left: %v", got)
		}
	})
}

// A target of many ends is matched as one of few is, and a rule can get one, get
// another, and go back.
func TestManyEnds(t *testing.T) {
	bothWays(t, func(t *testing.T, bySet bool) {
		ns := kerneltest.NetNS(t)
		to := func(from, n int) (m target.Matcher) {
			for k := range n {
				m.To = append(m.To, target.Endpoint{Prefix: netip.MustParsePrefix(fmt.Sprintf("127.0.%d.%d/32", (from+k)>>8, (from+k)&255)), LowPort: 5432, HighPort: 5432})
				m.To = append(m.To, target.Endpoint{Prefix: netip.MustParsePrefix(fmt.Sprintf("::%x/128", from+k)), LowPort: 5432, HighPort: 5432})
			}
			return m
		}
		i, stop := startInjector(t, ns, bySet, Config{Rules: []Rule{{Match: to(1, ruleset.FewEnds+2), Faults: fake(faults.Diversion{All: true})}}})
		expect := func(what string, want bool, c *connection) {
			t.Helper()
			if got := judged(i, c); got != want {
				t.Errorf("%s: judged %v, want %v", what, got, want)
			}
		}
		first := connect(t, "127.0.0.5:5432")
		expect("one of many", true, first)
		expect("the one behind the last", false, connect(t, fmt.Sprintf("127.0.0.%d:5432", ruleset.FewEnds+3)))
		expect("another port", false, connect(t, "127.0.0.6:5433"))
		for _, m := range []target.Matcher{to(100, 1), to(200, 1000), to(1000, 1000), to(100, 2)} {
			if err := i.Retarget(0, m); err != nil {
				t.Fatal(err)
			}
			last := m.To[len(m.To)-2]
			expect("the last of the new ones", true, connect(t, netip.AddrPortFrom(last.Prefix.Addr(), 5432).String()))
			expect("one that had been", false, connect(t, "127.0.0.7:5432"))
			if lab.IPv6() {
				expect("one that had been, of IPv6", false, connect(t, "[::1]:5432"))
			}
		}
		if err := i.Retarget(0, to(1, 20)); err != nil {
			t.Fatal(err)
		}
		expect("one that is again", true, connect(t, "127.0.0.20:5432"))
		want := uint64(6)
		if lab.IPv6() {
			expect("one that is again, of IPv6", true, connect(t, "[::1]:5432"))
			want++
		}
		stop()
		if got := i.Stats().Rules[0]; got.Chosen != want {
			t.Errorf("%d connections chosen, want %d", got.Chosen, want)
		}
	})
}

// Changes that come before, while and after the rules go in are harmless.
func TestChangeAnyTime(t *testing.T) {
	ns := kerneltest.NetNS(t)
	i, err := newInjector(Config{Rules: []Rule{{Match: target.Matcher{To: []target.Endpoint{{LowPort: 1, HighPort: 1}}}, Faults: fake(faults.Diversion{All: true})}}, NetNS: ns})
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Retarget(0, target.Matcher{To: []target.Endpoint{{LowPort: 5432, HighPort: 5432}}}); err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []error{i.Retarget(1, target.Matcher{}), i.SetShare(-1, 1), i.SetShare(0, 1.5)} {
		if wrong == nil {
			t.Error("a change of nothing was taken")
		}
	}
	ran, stop := startInjector(t, ns, false, i.cfg)
	end, changed := make(chan struct{}), make(chan error, 1)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-end:
				changed <- nil
				return
			default:
			}
			if err := ran.SetShare(0, float64(n%2)); err != nil {
				changed <- err
				return
			}
		}
	}()
	c := connect(t, "127.0.0.1:5432")
	for range 100 {
		c.talk()
	}
	stop()
	close(end)
	if err := <-changed; err != nil {
		t.Error(err)
	}
}

// TestShareRecurs checks that the lots of a share that recurs are drawn again: an open
// connection that was left alone is chosen in the end, and one that was chosen stays so.
func TestShareRecurs(t *testing.T) {
	bothWays(t, func(t *testing.T, bySet bool) {
		ns := kerneltest.NetNS(t)
		i, stop := startInjector(t, ns, bySet, Config{Rules: []Rule{{
			Match: target.Matcher{To: []target.Endpoint{{LowPort: 5432, HighPort: 5432}}}, Pick: target.Pick{Share: target.ShareEvery(0.2, 20*time.Millisecond)},
			Faults: fake(faults.Diversion{All: true}),
		}}})
		defer stop()
		c := connect(t, "127.0.0.1:5432")
		for until := time.Now().Add(10 * time.Second); i.Stats().Rules[0].Chosen == 0; {
			if c.talk(); time.Now().After(until) {
				t.Fatal("it was never chosen")
			}
		}
		for range 10 {
			if !judged(i, c) {
				t.Fatal("a chosen connection was let go")
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n := i.Stats().Rules[0].Chosen; n != 1 {
			t.Errorf("one connection was chosen %d times", n)
		}
	})
}
