package injector

import (
	"net/netip"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
)

const ms = time.Millisecond

// TestWaited holds how long packets are said to have waited, and that a worker which
// sleeps is not late.
func TestWaited(t *testing.T) {
	full := nfqueue.Received{N: nfqueue.BatchSize, More: true}
	some := nfqueue.Received{N: 3}
	type step struct {
		r                nfqueue.Received
		asked, wait, now time.Duration
		want             time.Duration
	}
	for name, steps := range map[string][]step{
		"it slept until they came": {
			{some, 0, 100 * ms, 60 * ms, 0},
			{nfqueue.Received{N: 1, Waited: true}, 60 * ms, 20 * ms, 79 * ms, 0},
		},
		"it woke late": {
			{some, 0, 20 * ms, 90 * ms, 70 * ms},
			{nfqueue.Received{N: 1, Waited: true}, 90 * ms, 20 * ms, 410 * ms, 300 * ms},
		},
		"it was busy": {
			{some, 0, 100 * ms, 0, 0},
			{some, 40 * ms, 100 * ms, 40 * ms, 40 * ms},
		},
		"there was more": {
			{full, 0, 100 * ms, 0, 0},
			{full, 10 * ms, 100 * ms, 10 * ms, 10 * ms},
			{full, 80 * ms, 100 * ms, 80 * ms, 80 * ms}, // it was stopped meanwhile
			{some, 90 * ms, 100 * ms, 90 * ms, 90 * ms},
			{some, 91 * ms, 100 * ms, 91 * ms, 1 * ms},
		},
		"there was more, but only just": {
			{full, 0, 100 * ms, 0, 0},
			{nfqueue.Received{N: 1, Waited: true}, 1 * ms, 100 * ms, 50 * ms, 0},
		},
		"marks tell": {
			{full, 0, 100 * ms, 0, 0},
			{nfqueue.Received{N: 60, More: true, Mark: markOf(50 * ms)}, 60 * ms, 100 * ms, 60 * ms, 60 * ms}, // a part came before it
			{full, 70 * ms, 100 * ms, 70 * ms, 20 * ms},
			{full, 80 * ms, 100 * ms, 80 * ms, 30 * ms}, // none came
			{nfqueue.Received{N: 60, More: true, Mark: markOf(75 * ms)}, 80 * ms, 100 * ms, 80 * ms, 30 * ms},
			{full, 80 * ms, 100 * ms, 80 * ms, 5 * ms},
		},
		"a signal ends a sleep": {
			{nfqueue.Received{More: true}, 0, 100 * ms, 50 * ms, 0},
			{some, 50 * ms, 100 * ms, 90 * ms, 0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := backlog{queue: &fakeQueue{}}
			for i, s := range steps {
				b.received(s.r, s.asked, s.wait, s.now)
				if got := s.now - b.arrived; got < s.want-markUnit || got > s.want+markUnit {
					t.Errorf("receive %d: they have waited for %v, want %v", i, got, s.want)
				}
			}
		})
	}
}

// TestMarks holds that a mark tells its age, from the first nanosecond on and after its 32
// bits have come to their end.
func TestMarks(t *testing.T) {
	for _, at := range []time.Duration{0, 1, ms, time.Hour, 1<<48 - ms, 1 << 48, 100 * time.Hour} {
		for _, age := range []time.Duration{0, ms, time.Second, time.Minute} {
			if got := markAge(markOf(at), at+age); got < age-2*markUnit || got > age+2*markUnit {
				t.Errorf("the mark of %v is %v old at %v, want %v", at, got, at+age, age)
			}
		}
	}
}

// crowd is a netfilter queue, and a worker that has too little of a processor: it runs
// for a part of each tenth of a second.
type crowd struct {
	fakeQueue
	now     time.Duration
	running time.Duration // of each tenth of a second

	every   time.Duration // a packet comes so often
	known   int           // one in so many is of a connection that is known; 0: all are
	came    int
	waiting []arrival

	limit, passed int
}

type arrival struct {
	at    time.Duration
	known bool
	mark  uint32 // instead
}

// spend has time go by, and packets come in.
func (c *crowd) spend(d time.Duration) {
	for d > 0 {
		left := c.running - c.now%(100*ms)
		switch {
		case left <= 0:
			c.now += 100*ms - c.now%(100*ms)
		case left < d:
			c.now, d = c.now+left, d-left
		default:
			c.now, d = c.now+d, 0
		}
	}
	for ; time.Duration(c.came)*c.every <= c.now; c.came++ {
		if len(c.waiting) >= c.limit {
			c.passed++
			continue
		}
		c.waiting = append(c.waiting, arrival{at: time.Duration(c.came) * c.every, known: c.known == 0 || c.came%c.known == 0})
	}
}

func (c *crowd) Mark(mark uint32) { c.waiting = append(c.waiting, arrival{mark: mark, at: c.now}) }
func (c *crowd) Limit(n int)      { c.limit = min(n, nfqueue.Length) }

// play has a worker serve the queue until that time, and tells of what is true and what it
// believes of each batch. It returns how many packets it shed.
func (c *crowd) play(until time.Duration, told func(waited, believed time.Duration)) (shed int) {
	b := backlog{queue: c}
	c.limit = nfqueue.Length
	for c.now < until {
		asked := c.now
		wait := b.sleep(idleWait, asked)
		c.spend(50 * time.Microsecond)
		r := nfqueue.Received{Waited: len(c.waiting) == 0}
		for len(c.waiting) == 0 && c.now < asked+wait {
			c.spend(c.every)
		}
		batch := c.waiting[:min(len(c.waiting), nfqueue.BatchSize)]
		c.waiting = c.waiting[len(batch):]
		r.More = len(batch) == nfqueue.BatchSize
		for _, a := range batch {
			if a.mark != 0 {
				r.Mark = a.mark
			} else {
				r.N++
			}
		}
		b.received(r, asked, wait, c.now)
		oldest := c.now
		for _, a := range batch {
			if a.mark == 0 {
				oldest = min(oldest, a.at)
			}
		}
		if r.N > 0 {
			told(c.now-oldest, c.now-b.arrived)
		}
		for _, a := range batch {
			switch {
			case a.mark != 0:
			case a.known:
				c.spend(12 * time.Microsecond)
			case b.sheds():
				shed++
				b.unknown++
				c.spend(9 * time.Microsecond)
			default:
				b.unknown++
				c.spend(14 * time.Microsecond)
			}
		}
		b.mark(c.now)
	}
	return shed
}

// TestFlood plays floods of new connections against a worker that cannot keep up. Once
// that is noticed nothing waits for much longer than the worker is without a processor,
// and at no time does a packet wait for longer than is said.
func TestFlood(t *testing.T) {
	for name, c := range map[string]*crowd{
		"a tenth of a processor": {running: 10 * ms, every: 22 * time.Microsecond, known: 40},
		"a fifth":                {running: 20 * ms, every: 22 * time.Microsecond, known: 40},
		"all of it":              {running: 100 * ms, every: 4 * time.Microsecond, known: 40},
	} {
		t.Run(name, func(t *testing.T) {
			var first, later time.Duration
			shed := c.play(10*time.Second, func(waited, believed time.Duration) {
				if waited > believed+wakeEvery+ms || believed > waited+110*ms {
					t.Fatalf("after %v: packets waited for %v, it is said that it was %v", c.now, waited, believed)
				}
				if c.now < 2*time.Second {
					first = max(first, waited)
				} else {
					later = max(later, waited)
				}
			})
			if first > time.Second || later > 2*LateAfter {
				t.Errorf("packets waited for %v at first, and for %v later", first, later)
			}
			if shed == 0 || c.passed == 0 {
				t.Errorf("%d packets shed by the worker, %d by the kernel", shed, c.passed)
			}
		})
	}
}

// TestNoFlood holds that packets are not shed where the worker catches up, and where they
// belong to connections that are known, which slow down.
func TestNoFlood(t *testing.T) {
	for name, c := range map[string]*crowd{
		"it keeps up":                    {running: 100 * ms, every: 30 * time.Microsecond, known: 2},
		"it runs half of the time":       {running: 50 * ms, every: 60 * time.Microsecond, known: 2},
		"connections that are known":     {running: 10 * ms, every: 100 * time.Microsecond},
		"few packets, and no processor":  {running: 2 * ms, every: 2 * ms, known: 4},
		"one in a while, and no hurry":   {running: 10 * ms, every: 300 * ms, known: 1},
		"hardly any time for nearly any": {running: ms, every: 20 * ms, known: 2},
	} {
		t.Run(name, func(t *testing.T) {
			if shed := c.play(5*time.Second, func(time.Duration, time.Duration) {}); shed != 0 || c.passed != 0 {
				t.Errorf("%d packets shed by the worker, %d by the kernel", shed, c.passed)
			}
		})
	}
}

// TestFloodEnds holds that the kernel's queue has its full length again when a flood is
// over.
func TestFloodEnds(t *testing.T) {
	c := &crowd{running: 10 * ms, every: 22 * time.Microsecond, known: 40}
	b := backlog{queue: c, flooded: true, limited: true, rates: [3]int{500, 500, 500}}
	c.Limit(b.room())
	for n := range 200 {
		b.received(nfqueue.Received{N: 1}, time.Duration(n)*10*ms, 0, time.Duration(n)*10*ms)
	}
	if b.sheds() || c.limit != nfqueue.Length {
		t.Errorf("two seconds later the queue is limited to %d packets, and packets pass unjudged: %v", c.limit, b.sheds())
	}
}

// TestShed holds what passes in a flood: what begins a connection that is not known. One
// that a fault has killed stays dead, what is held stays held, and what goes on is judged.
func TestShed(t *testing.T) {
	from := func(port uint16, flags packet.Flags) []byte {
		f := packet.Fields{Src: netip.AddrPortFrom(client.Addr(), port), Dst: server, TTL: 64, DF: true, Seq: 100, Flags: flags, Window: 1000}
		return f.Append(nil, nil)
	}
	b := newBench(t, ruleOf(model(t, "partition")))
	if v := b.judge(t, forward, from(1, packet.SYN)); !v.Drop && v.Signal&uint32(ruleset.Drop) == 0 {
		t.Fatalf("a SYN gets %+v, want a drop", v)
	}
	b.backlog.flooded, b.backlog.behind = true, true
	for _, c := range []struct {
		what  string
		port  uint16
		flags packet.Flags
		drop  bool
	}{
		{"a dead connection's SYN", 1, packet.SYN, true},
		{"its segment", 1, packet.ACK, true},
		{"its RST", 1, packet.RST, true},
		{"a new SYN", 2, packet.SYN, false},
		{"its answer", 2, packet.RST, false},
		{"a connection that was open before", 3, packet.ACK, true},
	} {
		shed := b.totals.shed.Load()
		v := b.judge(t, forward, from(c.port, c.flags))
		if drop := v.Drop || v.Signal&uint32(ruleset.Drop) != 0; drop != c.drop || (b.totals.shed.Load() > shed) == drop {
			t.Errorf("%s: dropped: %v, counted as shed: %v", c.what, drop, b.totals.shed.Load() > shed)
		}
	}
	b.backlog.behind = false
	if v := b.judge(t, forward, from(4, packet.SYN)); !v.Drop && v.Signal&uint32(ruleset.Drop) == 0 {
		t.Errorf("when the worker has caught up a SYN gets %+v, want a drop", v)
	}
}

// TestHeldLate holds that a packet which a fault holds is as late as it leaves after its
// time, and that what it waited before counts.
func TestHeldLate(t *testing.T) {
	b := newBench(t, ruleOf(NamedModel{"delay", delayModel{50 * ms}}))
	b.now = 30 * ms
	b.arrived = 20 * ms
	b.handle(&nfqueue.Packet{ID: 1, Hook: forward, Bytes: segment(faults.Original, packet.SYN, 100, 0, "")})
	if len(b.q.verdicts) != 0 || b.heldNow != 1 {
		t.Fatalf("it has %d verdicts, and %d packets are held; want none, and 1", len(b.q.verdicts), b.heldNow)
	}
	b.now = 120 * ms
	b.runDue(b.now)
	if h := b.snapshot().Latency; h.Count() != 1 || h.Max != 50*ms {
		t.Errorf("%d verdicts, the latest after %v; want one, 50ms late", h.Count(), h.Max)
	}
}
