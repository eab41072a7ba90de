package injector

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
)

// forgedEnd is the n-th of many addresses that a flood forges.
func forgedEnd(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{172, byte(16 + n>>16), byte(n >> 8), byte(n)}), uint16(1024+n%50_000))
}

// flood has the worker judge forged SYNs, each with the server's answer if it answers,
// as the worker's loop would: what is due is done in between.
func (b *bench) flood(n int, answers bool) {
	server := netip.MustParseAddrPort("10.0.0.2:5432")
	buf := make([]byte, 0, 128)
	for i := range n {
		f := packet.Fields{Src: forgedEnd(i), Dst: server, TTL: 64, Seq: packet.Seq(i), Flags: packet.SYN, Window: 1000}
		buf = f.Append(buf[:0], nil)
		b.handle(&nfqueue.Packet{ID: nfqueue.ID(2 * i), Hook: localIn, Bytes: buf})
		if answers {
			f.Src, f.Dst, f.Seq, f.Ack, f.Flags = f.Dst, f.Src, 7, f.Seq+1, packet.SYN|packet.ACK
			buf = f.Append(buf[:0], nil)
			b.handle(&nfqueue.Packet{ID: nfqueue.ID(2*i + 1), Hook: localIn, Bytes: buf})
		}
		b.now += 5 * time.Microsecond // 200,000 a second
		if i%nfqueue.BatchSize == 0 {
			b.runPosted()
			b.runTimers(b.now)
			b.wakeParked(b.now)
			b.parkIdle(b.now)
			b.watcher.Due(b.now)
		}
	}
}

// TestFloodIsBounded checks that forged SYNs, answered or not, take no more memory than
// docs/SAFETY.md says, that what was given up is counted, and that a connection that was
// open before is still known afterwards.
func TestFloodIsBounded(t *testing.T) {
	const bytesOfActive = 2048
	for _, c := range []struct {
		name        string
		m           NamedModel
		syns        int
		answers     bool
		most        uint64 // bytes
		forgets     bool   // connections, to make room
		settlesSoon bool   // outcomes, likewise
	}{
		{"judges every segment", model(t, "delay", "by", "1ms"), maxOpening * 3 / 2, true, maxOpening * bytesOfActive, true, true},
		{"refuses each", model(t, "refuse"), maxStruck * 2, false, 2 * maxStruck * bytesOfActive, false, true},
	} {
		b := quietBench(t, c.m)
		b.worker.sets = idleSets{}
		b.handle(&nfqueue.Packet{Hook: forward, Bytes: segment(faults.Reply, packet.SYN|packet.ACK, 999, 100, "")})
		b.handle(&nfqueue.Packet{Hook: forward, Bytes: segment(faults.Original, packet.ACK, 100, 1000, "x")})
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		b.flood(c.syns, c.answers)
		runtime.GC()
		runtime.ReadMemStats(&after)
		if got := after.HeapAlloc - before.HeapAlloc; got > c.most {
			t.Errorf("%s: %d forged SYNs take %d MB, want %d at most: %d B for each of %d", c.name, c.syns, got>>20, c.most>>20, got/uint64(len(b.flows.flows)+b.parked.n), len(b.flows.flows)+b.parked.n)
		}
		if got := b.totals.forgotten.Load(); (got > 0) != c.forgets {
			t.Errorf("%s: %d connections were forgotten", c.name, got)
		}
		if got := b.totals.early.Load(); (got > 0) != c.settlesSoon {
			t.Errorf("%s: %d outcomes were settled early", c.name, got)
		}
		seg, _ := packet.Parse(segment(faults.Original, packet.ACK, 101, 1000, "y"))
		if e, _ := b.find(seg, b.now); e == nil {
			t.Errorf("%s: the connection that was open before the flood is forgotten", c.name)
		}
	}
}

// TestOrderOfForgetting checks whom a full table forgets first: closed connections, then
// those that were never completed, then the quietest; and that a connection which shows
// that it lives counts as such again.
func TestOrderOfForgetting(t *testing.T) {
	b := newBench(t, ruleOf(model(t, "delay", "by", "0s", "jitter", "1ns")))
	b.flows.capacity = capacity{few: 6, most: 6, opening: 3, over: 2}
	turn := func(n int, dir faults.Direction, flags packet.Flags, seq, ack packet.Seq) {
		f := packet.Fields{Src: forgedEnd(n), Dst: server, TTL: 64, Seq: seq, Ack: ack, Flags: flags, Window: 1000}
		if dir == faults.Reply {
			f.Src, f.Dst = f.Dst, f.Src
		}
		b.now += time.Millisecond
		b.handle(&nfqueue.Packet{Hook: forward, Bytes: f.Append(nil, nil)})
	}
	syn := func(n int) { turn(n, faults.Original, packet.SYN, 99, 0) }
	open := func(n int) {
		syn(n)
		turn(n, faults.Reply, packet.SYN|packet.ACK, 999, 100)
		turn(n, faults.Original, packet.ACK, 100, 1000)
	}
	closes := func(n int) {
		turn(n, faults.Original, packet.FIN|packet.ACK, 100, 1000)
		turn(n, faults.Reply, packet.FIN|packet.ACK, 1000, 101)
	}
	known := func(want string) {
		t.Helper()
		got := ""
		for n := range 20 {
			if e := b.flows.flows[flowKey{forgedEnd(n), server}]; e != nil {
				got += fmt.Sprintf("%d:%d ", n, e.stands)
			}
		}
		if got != want {
			t.Fatalf("known: %s, want %s", got, want)
		}
	}
	open(0)
	open(1)
	syn(2)
	open(3)
	closes(3)
	turn(4, faults.Reply, packet.RST, 7, 0)
	known("0:2 1:2 2:1 3:0 4:0 ")
	turn(4, faults.Reply, packet.ACK, 7, 1) // the RST was none of its own
	turn(4, faults.Original, packet.ACK, 1, 7)
	known("0:2 1:2 2:1 3:0 4:2 ")
	syn(5)
	known("0:2 1:2 2:1 3:0 4:2 5:1 ")
	open(6) // the closed one makes room
	known("0:2 1:2 2:1 4:2 5:1 6:2 ")
	open(7) // then the oldest that is not open
	known("0:2 1:2 4:2 5:1 6:2 7:2 ")
	open(8)
	open(9) // then the quietest
	known("1:2 4:2 6:2 7:2 8:2 9:2 ")
	if got := b.totals.forgotten.Load(); got != 3 {
		t.Errorf("%d connections count as forgotten, want 3: those that were not closed", got)
	}
	closes(9)
	b.now += overFor + time.Second
	open(10) // a closed one leaves after some time in any case
	known("1:2 4:2 6:2 7:2 8:2 10:2 ")
}
