package integration

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/faultctl/faultctl/lab"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// patient makes TCP retransmit only what its peer reports as missing, by making
// all its timers longer than a test on a busy machine. It also makes the buffers
// large enough for everything that a test has in flight.
func (w *testbed) patient() {
	w.t.Helper()
	for _, n := range []*lab.Node{w.Client, w.Server} {
		for name, value := range map[string]string{
			"tcp_rto_min_us": "60000000", "tcp_early_retrans": "0", "tcp_slow_start_after_idle": "0", "tcp_congestion_control": "reno",
			"tcp_rmem": "4096 16777216 33554432", "tcp_wmem": "4096 16777216 33554432",
		} {
			if err := n.Sysctl("net/ipv4/"+name, value); err != nil {
				lacks(w.t, fmt.Sprintf("this kernel's TCP cannot be told to be patient: %s: %v", name, err))
			}
		}
	}
}

// needWideQueue skips a test that fills the queue faster than it can be read if
// the queue must be narrow: only root of the host may give its socket more memory
// than net.core.rmem_max, which is enough for about a hundred packets by default.
// Further packets pass unjudged, and overtake those that are held.
func (w *testbed) needWideQueue() {
	w.t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20); err != nil {
		lacksRoot(w.t, fmt.Sprintf("the queue cannot be made wide without root of the host: SO_RCVBUFFORCE: %v", err))
	}
}

// counters reads TCP counters at both ends and adds them up.
func (w *testbed) counters(names ...string) map[string]uint64 {
	w.t.Helper()
	sum := map[string]uint64{}
	hosts := []*lab.Node{w.Client, w.Server}
	if w.at == loopback {
		hosts = hosts[1:]
	}
	for _, n := range hosts {
		for _, name := range names {
			v, err := n.Counter(name)
			if err != nil {
				w.t.Fatal(err)
			}
			sum[name] += v
		}
	}
	return sum
}

// orderly checks that no segment arrives out of order and none is sent twice
// while f runs, except for what the links do. A virtual link has a queue on each
// processor, so segments that two processors send may be reordered on the link
// itself, sometimes about forty of 20,000. One in a hundred is tolerated; a
// jitter that may reorder would reorder most.
//
// The queue of a busy processor may also drop a segment, so f runs again, at most
// twice, if anything was sent twice. The receiver reports segments that arrived
// twice (D-SACK), perhaps after the end of f; it may do so as often as a sender
// sent one twice since the first run of f. A test of the injector checks the
// order in which held segments leave exactly.
func (w *testbed) orderly(f func()) {
	w.t.Helper()
	names := []string{"TcpRetransSegs", "TcpExtTCPOFOQueue", "TcpExtTCPSpuriousRtxHostQueues", "TcpExtTCPDSACKRecv", "TcpInErrs"}
	start := w.counters(names...)
	for try := 1; ; try++ {
		before := w.counters(names...)
		f()
		now := w.counters(names...)
		rose := maps.Clone(now)
		maps.DeleteFunc(rose, func(name string, v uint64) bool { return v == before[name] })
		for name := range rose {
			rose[name] -= before[name]
		}
		if rose["TcpExtTCPOFOQueue"] <= 20_000/100 {
			delete(rose, "TcpExtTCPOFOQueue")
		}
		if n := "TcpExtTCPDSACKRecv"; now[n]-start[n] <= now["TcpRetransSegs"]-start["TcpRetransSegs"] {
			delete(rose, n)
		}
		switch {
		case len(rose) == 0:
			return
		case try == 3:
			w.t.Fatalf("not in order: %v", rose)
		}
		w.t.Logf("once more: %v", rose)
	}
}

// stream is a connection on which the client sends.
type stream struct{ client, server *lab.App }

// streams opens n of them. If mss is not 0, the client's segments are no larger.
func (w *testbed) streams(n, mss int) []stream {
	w.t.Helper()
	ss := make([]stream, n)
	for i := range ss {
		c := w.client()
		if mss != 0 {
			if err := c.SetInt(unix.IPPROTO_TCP, unix.TCP_MAXSEG, mss); err != nil {
				w.t.Fatal(err)
			}
		}
		if got := c.Connect(w.service); got != "ok" {
			w.t.Fatalf("connect: %s", got)
		}
		s, err := w.ln.Accept()
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(s.Close)
		c.Timeout(time.Minute)
		s.Timeout(time.Minute)
		ss[i] = stream{c, s}
	}
	return ss
}

// pour sends size bytes on each and waits until they have arrived completely.
func pour(t *testing.T, ss []stream, size int) {
	t.Helper()
	var wg sync.WaitGroup
	for _, s := range ss {
		wg.Go(func() {
			if err := s.client.Pour(size); err != nil {
				t.Error(err)
			}
		})
	}
	drain(t, ss, size)
	wg.Wait()
}

// drain waits until size bytes have arrived on each.
func drain(t *testing.T, ss []stream, size int) {
	t.Helper()
	var wg sync.WaitGroup
	for _, s := range ss {
		wg.Go(func() {
			if err := s.server.Drain(size); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// acknowledged waits until the senders know that everything has arrived: until
// then they may still retransmit.
func acknowledged(t *testing.T, ss []stream) {
	t.Helper()
	for _, s := range ss {
		if !lab.Eventually(func() bool {
			i, err := s.client.Info()
			return err == nil && i.Unacked == 0 && i.Notsent == 0
		}) {
			t.Error("what has arrived is not acknowledged")
		}
	}
}

const segment = 1448 // bytes that one segment of the lab's wires carries over IPv4

// TestDelay checks that 20,000 segments of one connection stay in order under a
// delay with jitter, and that TCP never sends one of them twice.
func TestDelay(t *testing.T) {
	everywhere(t, func(t *testing.T, w *testbed) {
		w.needWideQueue()
		w.patient()
		w.narrowLoopback()
		run := w.inject("delay:by=50ms,jitter=10ms")
		w.orderly(func() {
			s := w.streams(1, 0)
			pour(t, s, 20_000*segment)
			acknowledged(t, s)
		})
		if s := run.Stats(); s.Diverted < 20_000 || s.Overruns != 0 || s.Lost != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// narrowLoopback gives loopback the MTU of a wire.
func (w *testbed) narrowLoopback() {
	w.t.Helper()
	if w.at != loopback {
		return
	}
	lo, err := w.Server.Netlink().LinkByName("lo")
	if err == nil {
		err = w.Server.Netlink().LinkSetMTU(lo, 1500)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// TestDelayInFlight checks the same with 20,000 segments in flight at once, as on
// a long path with high bandwidth.
func TestDelayInFlight(t *testing.T) {
	t.Parallel()
	for _, at := range vantages { // not in parallel: each needs a processor for a while
		t.Run(string(at), func(t *testing.T) {
			w := newTestbed(t, at, false)
			w.needWideQueue()
			w.patient()
			w.wide(200)
			// The initial window is no larger. What is sent at once must be few
			// compared with the 1000 packets that a veth queues (netdev_max_backlog).
			const all, flows, size = 20_000, 170, 64_000
			most := uint64(0)
			for try := 0; try < 3 && most < all; try++ {
				w.orderly(func() { most = w.inFlight(w.streams(flows, 536), size) }) // 524 bytes per segment
			}
			if most < all {
				t.Errorf("only %d segments were under way", most)
			}
		})
	}
}

// inFlight sends through a long path, and returns how many segments were in
// flight before the first arrived.
func (w *testbed) inFlight(ss []stream, size int) (n uint64) {
	w.t.Helper()
	run := w.inject("delay:by=6s,jitter=300ms,dir=client")
	for _, s := range ss {
		if err := s.client.Pour(size); err != nil {
			w.t.Fatal(err)
		}
	}
	for begun := time.Now(); !slices.ContainsFunc(ss, stream.arrived); {
		if time.Since(begun) > time.Minute {
			w.t.Fatal("nothing arrives")
		}
		n = run.Stats().Diverted
		time.Sleep(time.Millisecond)
	}
	drain(w.t, ss, size)
	acknowledged(w.t, ss)
	run.stop()
	for _, s := range ss { // the next run's netlink needs a descriptor below 1024
		s.client.Close()
		s.server.Close()
	}
	if s := run.Stats(); s.Overruns != 0 || s.Lost != 0 {
		w.t.Errorf("%+v", s)
	}
	return n
}

// wide lets the client start with that many segments in flight.
func (w *testbed) wide(segments int) {
	w.t.Helper()
	filter, mask := &netlink.Route{Table: unix.RT_TABLE_MAIN}, uint64(netlink.RT_FILTER_TABLE)
	dst := "0.0.0.0/0"
	if w.at == loopback {
		filter.Table, dst = unix.RT_TABLE_LOCAL, w.service.Addr().String()+"/32"
	}
	routes, err := w.from.Netlink().RouteListFiltered(netlink.FAMILY_V4, filter, mask)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range routes {
		if r.Dst == nil && dst == "0.0.0.0/0" || r.Dst != nil && r.Dst.String() == dst {
			r.InitCwnd = segments
			if err := w.from.Netlink().RouteReplace(&r); err != nil {
				w.t.Fatal(err)
			}
			return
		}
	}
	w.t.Fatalf("no route to %s among %v", dst, routes)
}

// arrived reports whether the server has something to read.
func (s stream) arrived() bool { return s.server.Readable() }
