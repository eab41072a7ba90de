package injector

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
	"golang.org/x/sys/unix"
)

// flowOf is the n-th of many connections.
func flowOf(n int, v6 bool) (client, server netip.AddrPort) {
	a := netip.AddrFrom4([4]byte{10, 1, byte(n >> 8), byte(n)})
	s := netip.MustParseAddr("10.0.0.2")
	if v6 {
		a = netip.AddrFrom16([16]byte{0xfd, 14: byte(n >> 8), 15: byte(n)})
		s = netip.MustParseAddr("fd00::2")
	}
	return netip.AddrPortFrom(a, uint16(10_000+n>>16)), netip.AddrPortFrom(s, 5432)
}

// opened is the first segment of the n-th connection.
func opened(buf []byte, n int, v6 bool) []byte {
	f := packet.Fields{TTL: 64, DF: true, Seq: packet.Seq(n), Flags: packet.SYN, Window: 1000}
	f.Src, f.Dst = flowOf(n, v6)
	f.SetTimestamps(uint32(n), 0)
	return f.Append(buf[:0], nil)
}

// quietBench is a worker whose verdicts go nowhere.
func quietBench(t testing.TB, m NamedModel) *bench {
	b := newBench(t, ruleOf(m))
	quiet := &silentQueue{}
	b.queue, b.sender = quiet, quiet
	return b
}

// idleSets is a kernel that has seen nothing for long.
type idleSets struct{}

func (idleSets) setFlow(ruleset.SetOp, ruleset.SetKind, flowKey) error { return nil }
func (idleSets) idle(int, flowKey) time.Duration                       { return time.Hour }
func (idleSets) owned(int, flowKey) bool                               { return true }

// settleAll puts away what is quiet.
func (b *bench) settleAll() {
	b.now += parkAfter
	for b.idle.len() > 0 {
		b.parkIdle(b.now)
	}
}

// TestFlowsSleep holds that a flow which the kernel lets pass is put away and
// comes back as it was, over both families, and that its alarm wakes it.
func TestFlowsSleep(t *testing.T) {
	const n = 3000 // several chunks, and the index grows many times
	for _, v6 := range []bool{false, true} {
		b := newBench(t, ruleOf(model(t, "idle-expire", "after", "1m", "then", "rst-both")))
		b.worker.sets = idleSets{}
		b.now = time.Second
		for i := range n {
			b.handle(&nfqueue.Packet{ID: nfqueue.ID(i), Hook: forward, Bytes: opened(nil, i, v6), Mark: uint32(i)})
			b.parkIdle(b.now)
		}
		if b.parked.n != 0 {
			t.Errorf("%d flows sleep before they were quiet", b.parked.n)
		}
		b.settleAll()
		if b.parked.n != n || len(b.flows.flows) != 0 || b.timers.heap.Len() != 0 {
			t.Fatalf("%d flows sleep, %d do not, %d alarms in the heap; want %d asleep", b.parked.n, len(b.flows.flows), b.timers.heap.Len(), n)
		}
		for i := range n {
			client, server := flowOf(i, v6)
			r := b.parked.at(b.parked.find(client, server))
			if c, s := r.addrs(); c != client || s != server || r.nth != uint64(i) || r.mark[0] != uint32(i) || !r.half[0].SYN {
				t.Fatalf("flow %d is kept as %v, %v, %+v", i, c, s, r)
			}
		}
		// A segment comes: the flow is the same, and what its fault knows is.
		b.handle(&nfqueue.Packet{ID: 1, Hook: forward, Bytes: opened(nil, 7, v6)})
		client, server := flowOf(7, v6)
		e := b.flows.flows[flowKey{client, server}]
		if e == nil || e.nth != 7 || e.Segments != 2 || e.chain == nil || b.parked.n != n-1 {
			t.Fatalf("flow 7 came back as %+v, %d sleep", e, b.parked.n)
		}
		// Alarms wake all of them: each is asked once for its numbers.
		b.now += time.Minute
		for range n {
			b.parkIdle(b.now)
			b.runDue(b.now)
			b.wakeParked(b.now)
		}
		for deadline := time.Now().Add(time.Minute); len(b.s.pkts) < n && time.Now().Before(deadline); {
			b.runPosted() // the probe leaves when the sets are changed
			runtime.Gosched()
		}
		if got := len(b.s.pkts); got != n {
			t.Errorf("%d probes sent, want %d: one a flow", got, n)
		}
	}
}

// TestFlowsAreForgotten holds that what was quiet for too long leaves, and that
// its place is used again.
func TestFlowsAreForgotten(t *testing.T) {
	b := quietBench(t, model(t, "syn-drop"))
	b.parked.capacity.few = 500
	for round := range 5 {
		for i := range 1000 {
			b.handle(&nfqueue.Packet{Hook: forward, Bytes: opened(nil, round*1000+i, false)})
		}
		b.settleAll()
		b.now += forgetAfter + time.Second
	}
	if b.parked.n > 1000 || b.parked.used > 2000 {
		t.Errorf("%d flows are remembered, in %d places", b.parked.n, b.parked.used)
	}
}

// TestShortConnections holds that alarms of connections that are long over do not
// pile up, asleep or awake, and that those of the others ring.
func TestShortConnections(t *testing.T) {
	const ports, rounds = 100, 300
	for name, m := range map[string]NamedModel{
		"asleep": model(t, "idle-expire", "after", "1h", "then", "rst-both"),
		"awake":  model(t, "half-open", "at", "age=1h"),
	} {
		b := quietBench(t, m)
		b.worker.sets = idleSets{}
		for round := range rounds {
			for i := range ports {
				f := packet.Fields{TTL: 64, Seq: packet.Seq(round), Flags: packet.SYN, Window: 1000}
				f.Src, f.Dst = flowOf(i, false)
				b.handle(&nfqueue.Packet{Hook: forward, Bytes: f.Append(nil, nil)})
			}
			b.settleAll()
		}
		if n := b.parked.n + len(b.flows.flows); n != ports {
			t.Errorf("%s: %d connections are known, want %d", name, n, ports)
		}
		if n := b.parked.alarms.Len() + b.timers.heap.Len(); n > 2*ports+fewAlarms+sweepBatch {
			t.Errorf("%s: %d alarms for %d connections", name, n, ports)
		}
		b.now += 2 * time.Hour
		for range rounds {
			b.runDue(b.now)
			b.wakeParked(b.now)
		}
		rang := 0
		for _, e := range b.flows.flows {
			if e.captured || e.timer == b.now+250*time.Millisecond { // asked for its numbers, once more if need be
				rang++
			}
		}
		if rang != ports {
			t.Errorf("%s: %d alarms rang, want %d", name, rang, ports)
		}
	}
}

// TestMemoryOfAFlow holds what a flow that waits takes in user space.
func TestMemoryOfAFlow(t *testing.T) {
	const n = 50_000
	for name, m := range map[string]NamedModel{
		"no alarm": model(t, "idle-expire", "after", "1h"),
		"an alarm": model(t, "idle-expire", "after", "1h", "then", "rst-both"),
		"one SYN":  model(t, "syn-drop"),
	} {
		if got := fill(quietBench(t, m), n, nil); got > 256 {
			t.Errorf("%s: %.0f bytes a flow, want 256 at most; a place has %d", name, got, unsafe.Sizeof(parkedFlow{}))
		}
	}
}

// threadTime is the processor time that this thread has taken. What others take
// of the machine meanwhile is none of the table's.
func threadTime() time.Duration {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts)
	return time.Duration(ts.Nano())
}

// fill opens connections and lets them be quiet, and returns the bytes that each
// takes. longest, if not nil, gets the longest that one of them took, or that
// the garbage collector stopped all.
func fill(b *bench, n int, longest *time.Duration) float64 {
	var before, after runtime.MemStats
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	runtime.GC()
	runtime.ReadMemStats(&before)
	buf := make([]byte, 0, 128)
	for i := range n {
		buf = opened(buf, i, false)
		start := threadTime()
		b.handle(&nfqueue.Packet{Hook: forward, Bytes: buf})
		b.now += 10 * time.Microsecond
		b.parkIdle(b.now)
		if longest != nil {
			*longest = max(*longest, threadTime()-start)
		}
	}
	b.settleAll()
	b.idle, b.flows = idleQueue{}, newFlowTable() // what was awake at once, not what sleeps
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(b)
	for i := before.NumGC; longest != nil && i < after.NumGC; i++ {
		*longest = max(*longest, time.Duration(after.PauseNs[i%256]))
	}
	return float64(after.HeapAlloc-before.HeapAlloc) / float64(n)
}

func BenchmarkFlows(b *testing.B) {
	for _, n := range []int{1000, 10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				longest := time.Hour
				var bytes float64
				for range 3 { // what the table itself takes long for is there each time
					var took time.Duration
					bytes = fill(quietBench(b, model(b, "idle-expire", "after", "1h")), n, &took)
					longest = min(longest, took)
				}
				b.ReportMetric(bytes, "B/flow")
				b.ReportMetric(float64(longest.Microseconds())/1000, "max-ms")
			}
		})
	}
}

// BenchmarkWaking is a flow that was put away, is needed again, and is put away.
func BenchmarkWaking(b *testing.B) {
	w := quietBench(b, model(b, "idle-expire", "after", "1h"))
	fill(w, 10_000, nil)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		client, server := flowOf(i%10_000, false)
		w.park(w.unpark(w.parked.find(client, server), w.now), w.now)
	}
}
