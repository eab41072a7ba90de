package sign

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/minirun"
	"github.com/faultctl/faultctl/lab"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m.Run)) }

const port = 8080

// scheme is how a run of that level knows what it must not judge, and what it
// sends.
type scheme struct {
	name   string
	of     func(level int) uint32
	passes func(level int) [][]expr.Any // rules that match what passes
}

func schemes(t *testing.T, ns *os.File) (ordered, common, own scheme) {
	tag, err := TagOf(ns)
	if err != nil {
		t.Fatal(err)
	}
	exactly := func(sign uint32) [][]expr.Any {
		return [][]expr.Any{minirun.Priority(expr.CmpOpEq, ^uint32(0), sign)}
	}
	ordered = scheme{"ordered", tag.Of, func(level int) [][]expr.Any {
		return [][]expr.Any{append(tag.Ours(), AtLeast(level)...)}
	}}
	common = scheme{"one sign for all", func(int) uint32 { return 0x01a0_17c1 }, func(int) [][]expr.Any { return exactly(0x01a0_17c1) }}
	own = scheme{"each its own sign, no order", tag.Of, func(level int) [][]expr.Any { return exactly(tag.Of(level)) }}
	return ordered, common, own
}

// fault is what a run does with a segment of the client.
type fault func(s packet.Segment, send func([]byte)) (drop bool)

func partition(packet.Segment, func([]byte)) bool { return true }

func duplicate(s packet.Segment, send func([]byte)) bool {
	send(append([]byte(nil), s.Bytes()...))
	return false
}

const late = 40 * time.Millisecond

// delay is what the injector does in output: copy, drop, send again.
func delay(s packet.Segment, send func([]byte)) bool {
	b := append([]byte(nil), s.Bytes()...)
	time.AfterFunc(late, func() { send(b) })
	return true
}

// run starts one at a level: a table of its own, owned by its own connection. It
// counts the segments with payload that it judges; beyond a hundred it judges none.
func run(t *testing.T, n *lab.Node, sc scheme, level int, f fault) (judged *atomic.Int32) {
	t.Helper()
	judged = &atomic.Int32{}
	c := minirun.Conn(t, n.NS)
	table := minirun.Table(c, fmt.Sprintf("run%d", level))
	raw := minirun.NewRaw(t, n.NS, sc.of(level))
	var mu sync.Mutex
	send := func(b []byte) {
		mu.Lock()
		defer mu.Unlock()
		raw.Send(b)
	}
	number := uint16(500 + level)
	minirun.Queue(t, n.NS, number, func(p minirun.Packet) minirun.Verdict {
		s, err := packet.Parse(p.Bytes)
		if err != nil || s.PayloadLen() == 0 || judged.Load() > 100 {
			return minirun.Verdict{}
		}
		judged.Add(1)
		s.UpdateChecksums()
		return minirun.Verdict{Drop: f(s, send)}
	})
	ch := minirun.Chain(c, table, "judge", nftables.ChainHookOutput, -150+level)
	for _, pass := range sc.passes(level) {
		minirun.Rule(c, ch, pass, minirun.Accept())
	}
	minirun.Rule(c, ch, minirun.Port(port, true), minirun.ToQueue(number))
	minirun.Flush(t, c)
	return judged
}

// world is a client and a server that are connected.
func world(t *testing.T, v6 bool) (l *lab.Lab, client, server *lab.App) {
	t.Helper()
	l, err := lab.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	to := l.Server.V4
	if v6 {
		to = l.Server.V6
	}
	listener, at, err := l.Server.Listen(netip.AddrPortFrom(to, port), 8)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(listener.Close)
	client, _ = l.Client.Client(to)
	t.Cleanup(client.Close)
	if got := client.Connect(at); got != "ok" {
		t.Fatal(got)
	}
	if server, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	server.Timeout(150 * time.Millisecond) // less than the first retransmission takes
	return l, client, server
}

func families(t *testing.T, f func(t *testing.T, v6 bool)) {
	for _, v6 := range []bool{false, true} {
		if v6 && !lab.IPv6() {
			continue
		}
		t.Run(map[bool]string{false: "IPv4", true: "IPv6"}[v6], func(t *testing.T) { f(t, v6) })
	}
}

// TestPartitionStops checks that a partition stops what another run sends again,
// in whichever order they began, and that with one sign for all it does not.
func TestPartitionStops(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		for _, first := range []string{"duplicate", "partition"} {
			for _, again := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s first, signs in order %v", first, again), func(t *testing.T) {
					l, client, server := world(t, v6)
					ordered, common, _ := schemes(t, l.Client.NS)
					sc := ordered
					if !again {
						sc = common
					}
					fs := []fault{duplicate, partition}
					if first == "partition" {
						fs = []fault{partition, duplicate}
					}
					run(t, l.Client, sc, 0, fs[0])
					run(t, l.Client, sc, 1, fs[1])
					client.Send("hello")
					want := "EAGAIN"
					if !again && first == "duplicate" {
						want = "hello" // the defect: the copy went by
					}
					if got := server.Recv(); got != want {
						t.Errorf("recv() = %s, want %s", got, want)
					}
				})
			}
		}
	})
}

// TestDelaysAddUp checks that two delays add up, each judging the segment once, and
// that without an order the runs would send it to each other for ever.
func TestDelaysAddUp(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		l, client, server := world(t, v6)
		server.Timeout(5 * time.Second)
		ordered, _, _ := schemes(t, l.Client.NS)
		a, b, c := run(t, l.Client, ordered, 0, delay), run(t, l.Client, ordered, 1, delay), run(t, l.Client, ordered, 2, delay)
		start := time.Now()
		client.Send("hello")
		if got := server.Recv(); got != "hello" {
			t.Fatal(got)
		}
		took := time.Since(start)
		if took < 3*late || took > 3*late+80*time.Millisecond {
			t.Errorf("three delays of %v took %v", late, took)
		}
		if a.Load() != 1 || b.Load() != 1 || c.Load() != 1 {
			t.Errorf("judged %d, %d and %d times", a.Load(), b.Load(), c.Load())
		}
	})
	t.Run("no order", func(t *testing.T) {
		l, client, _ := world(t, false)
		_, _, own := schemes(t, l.Client.NS)
		quick := func(s packet.Segment, send func([]byte)) bool {
			go send(append([]byte(nil), s.Bytes()...))
			return true
		}
		a := run(t, l.Client, own, 0, quick)
		run(t, l.Client, own, 1, quick)
		client.Send("hello")
		if !lab.Eventually(func() bool { return a.Load() > 50 }) {
			t.Errorf("judged %d times: no order is needed, then", a.Load())
		}
	})
}

// TestForeign checks that a socket with a priority of its own is judged, be it the
// one that used to be ours.
func TestForeign(t *testing.T) {
	l, client, server := world(t, false)
	ordered, _, _ := schemes(t, l.Client.NS)
	judged := run(t, l.Client, ordered, 0, partition)
	if err := client.SetInt(unix.SOL_SOCKET, unix.SO_PRIORITY, 0x01a0_17c1); err != nil {
		t.Fatal(err)
	}
	client.Send("hello")
	if got := server.Recv(); got != "EAGAIN" || judged.Load() == 0 {
		t.Errorf("recv() = %s, judged %d", got, judged.Load())
	}
}

// TestAnotherNamespace checks that a packet has lost its sign where it comes into
// another namespace: it is judged there like any other.
func TestAnotherNamespace(t *testing.T) {
	l, err := lab.NewIPv4()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tag, err := TagOf(l.Client.NS)
	if err != nil {
		t.Fatal(err)
	}
	minirun.Shell(t, l.Router.NS, "nft add table inet k; nft add chain inet k c '{ type filter hook forward priority 0; }'; nft add rule inet k c meta priority 0 counter")
	f := packet.Fields{Src: netip.AddrPortFrom(l.Client.V4, 9), Dst: netip.AddrPortFrom(l.Server.V4, 9), TTL: 64, Flags: packet.RST}
	if err := minirun.NewRaw(t, l.Client.NS, tag.Of(3)).Send(f.Append(nil, nil)); err != nil {
		t.Fatal(err)
	}
	minirun.Shell(t, l.Router.NS, "nft list chain inet k c | grep -q 'packets 1 '")
}

// TestOf checks the order of signs, that they have none of the bits of verdicts,
// and that namespaces have different ones.
func TestOf(t *testing.T) {
	l, err := lab.NewIPv4()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	here, err := TagOf(l.Client.NS)
	if err != nil {
		t.Fatal(err)
	}
	there, _ := TagOf(l.Server.NS)
	if again, _ := TagOf(l.Client.NS); again != here || here == there {
		t.Errorf("tags %x, again %x, elsewhere %x", here, again, there)
	}
	for level := range Levels {
		p := here.Of(level)
		if p>>25 != 0 || p&base == 0 {
			t.Errorf("level %d: %#x", level, p)
		}
		for run := range Levels {
			if got := here.Passes(run, p); got != (level >= run) {
				t.Errorf("a run of level %d passes level %d: %v", run, level, got)
			}
			if there.Passes(run, p) {
				t.Errorf("another namespace's sign passes")
			}
		}
	}
	if here.Passes(0, 0) || here.Passes(0, 6) {
		t.Error("an ordinary priority passes")
	}
}

// TestTagWithoutProc checks that a process in an empty root comes to the same tag as
// the others.
func TestTagWithoutProc(t *testing.T) {
	want, err := TagOf(nil)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error)
	go func() { // it ends with its thread, whose root it changes
		runtime.LockOSThread()
		got <- func() error {
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return err
			}
			if err := unix.Chroot(t.TempDir()); err != nil {
				return err
			}
			tag, err := TagOf(nil)
			if err == nil && tag != want {
				err = fmt.Errorf("tag %x, want %x", tag, want)
			}
			return err
		}()
	}()
	if err := <-got; err != nil {
		t.Error(err)
	}
}
