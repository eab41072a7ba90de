package injector

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/faultctl/faultctl/faults"
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

// TestQuietFlowsAreParked checks that a flow which the kernel lets pass is put away and
// comes back as it was, over both families, and that its alarm wakes it.
func TestQuietFlowsAreParked(t *testing.T) {
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

// TestFlowsAreForgotten checks that what was quiet for too long leaves, and that
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

// TestShortConnections checks that alarms of connections that are long over do not
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

// TestMemoryOfAFlow checks what a flow that waits takes in user space.
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

// TestFlowsAreRemembered checks that a connection whose peer has died is still
// known when the first keepalive probe comes, two hours and a bit later.
func TestFlowsAreRemembered(t *testing.T) {
	b := newBench(t, ruleOf(model(t, "half-open", "at", "request", "peer", "crashed")))
	b.judge(t, forward, segment(faults.Original, packet.SYN, 99, 0, ""))
	b.judge(t, forward, segment(faults.Original, packet.ACK, 100, 1, "x"))
	b.now += 2*time.Hour + 2*time.Minute
	b.handle(&nfqueue.Packet{ID: 9, Hook: forward, Bytes: opened(nil, 7, false)}) // another one begins
	if v := b.judge(t, forward, segment(faults.Original, packet.ACK, 100, 1, "")); !v.Drop || v.Signal != 0 {
		t.Errorf("the keepalive probe to a dead peer gets %+v, want a drop", v)
	}
	if len(b.flows.flows) != 2 {
		t.Errorf("%d connections are known, want 2", len(b.flows.flows))
	}
}

// TestNoRoom checks what happens when there are more connections than are
// remembered: the quietest go, and it is counted, awake or asleep.
func TestNoRoom(t *testing.T) {
	for name, m := range map[string]NamedModel{"awake": model(t, "reset"), "asleep": model(t, "syn-drop")} {
		b := newBench(t, ruleOf(m))
		b.flows.capacity, b.parked.capacity = capacity{few: 10, most: 20, opening: 20}, capacity{few: 10, most: 20}
		known := func() int { return len(b.flows.flows) + b.parked.n }
		open := func(n int) {
			b.handle(&nfqueue.Packet{Hook: forward, Bytes: opened(nil, n, false)})
			b.settleAll()
		}
		for n := range 30 {
			open(n)
		}
		if got := b.totals.forgotten.Load(); known() != 20 || got != 10 {
			t.Errorf("%s: %d of 30 connections are known, %d counted as forgotten; want 20, 10", name, known(), got)
		}
		b.now += forgetAfter + time.Second
		open(30)
		if got := b.totals.forgotten.Load(); known() != 10 || got != 10 {
			t.Errorf("%s: two hours later %d are known, %d counted as forgotten; want 10, 10", name, known(), got)
		}
		b.now += rememberFor + time.Second
		if open(31); known() != 1 {
			t.Errorf("%s: five days later %d are known, want 1", name, known())
		}
	}
}

// TestParkedAlarmsAreOnTime checks that a worker without packets does not sleep while
// flows wait to be put away: until then nobody knows of their alarms.
func TestParkedAlarmsAreOnTime(t *testing.T) {
	b := newBench(t, ruleOf(model(t, "idle-expire", "after", "10s", "then", "rst-both")))
	for n := range 10 * parkBatch {
		b.handle(&nfqueue.Packet{Hook: forward, Bytes: opened(nil, n, false)})
	}
	if got := b.patience(b.now); got != parkAfter {
		t.Errorf("it waits for %v, want %v", got, parkAfter)
	}
	b.now += parkAfter
	for range 10 {
		if got := b.patience(b.now); got != 0 {
			t.Fatalf("it waits for %v while %d flows are due", got, b.idle.len())
		}
		b.parkIdle(b.now)
	}
	if got := b.patience(b.now); b.parked.n != 10*parkBatch || got != idleWait {
		t.Errorf("%d flows sleep, it waits for %v", b.parked.n, got)
	}
}

// TestFlowStore checks what becomes of a flow in a store of its own: it is found in either
// direction, parked when it has been quiet, found again as it was, and back when its alarm
// is due.
func TestFlowStore(t *testing.T) {
	sh := newShared([]Rule{ruleOf(model(t, "syn-drop"))}, 1, nil)
	s := newFlowStore(sh)
	f := &entry{timer: faults.Never, released: true, asked: []ordinal{{rule: 0, nth: 7}}}
	f.Client, f.Server = client, server
	s.add(f, 0)
	there, err1 := packet.Parse(segment(faults.Original, packet.ACK, 1, 1, ""))
	back, err2 := packet.Parse(segment(faults.Reply, packet.ACK, 1, 1, ""))
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	for seg, want := range map[*packet.Segment]faults.Direction{&there: faults.Original, &back: faults.Reply} {
		if e, dir := s.find(*seg, 0); e != f || dir != want {
			t.Errorf("found %p in direction %v, want %p, %v", e, dir, f, want)
		}
	}
	s.quiet(f, 0)
	s.quiet(f, 0) // once is enough
	if _, more := s.parkNext(parkAfter - 1); more {
		t.Error("it is parked too soon")
	}
	if stays, more := s.parkNext(parkAfter); stays != nil || !more {
		t.Fatalf("it is not parked: %v, %v", stays, more)
	}
	if _, more := s.parkNext(time.Hour); more || !f.deleted || s.parked.n != 1 {
		t.Errorf("parked: %v, %d records, more to park: %v", f.deleted, s.parked.n, more)
	}
	e, dir := s.find(back, time.Hour)
	if e == nil || dir != faults.Reply || e.Client != client || len(e.asked) != 1 || e.asked[0].nth != 7 || s.parked.n != 0 {
		t.Errorf("found again as %+v in direction %v", e, dir)
	}
	if s.due(time.Hour) != nil {
		t.Error("an alarm is due that nobody set")
	}
	i := s.parked.take(client, server)
	s.parked.at(i).wakeAt = time.Minute
	s.parked.alarms.Push(alarm{milliseconds(time.Minute), i})
	if s.due(time.Minute-1) != nil {
		t.Error("an alarm is due before its time")
	}
	if e := s.due(time.Minute); e == nil || s.parked.n != 0 {
		t.Error("an alarm is not due at its time")
	}
}
