package features

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
)

const (
	cs = faults.Original
	sc = faults.Reply
	ms = time.Millisecond
)

// seg is a segment as a line of a table. Numbers are relative to 100 for the
// client and 500 for the server.
type seg struct {
	at       time.Duration
	dir      faults.Direction
	flags    packet.Flags
	seq, ack uint32
	payload  string
	fate     Fate
}

func build(t testing.TB, x seg) packet.Segment {
	t.Helper()
	c, s := netip.MustParseAddrPort("[fd00::1]:40000"), netip.MustParseAddrPort("[fd00::2]:80")
	f := packet.Fields{Src: c, Dst: s, TTL: 64, Flags: x.flags, Seq: packet.Seq(100 + x.seq), Ack: packet.Seq(500 + x.ack), Window: 100}
	if x.dir == sc {
		f.Src, f.Dst, f.Seq, f.Ack = s, c, packet.Seq(500+x.seq), packet.Seq(100+x.ack)
	}
	p, err := packet.Parse(f.Append(nil, []byte(x.payload)))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func flowOf(t testing.TB, segs ...seg) *Flow {
	f := &Flow{}
	for _, x := range segs {
		f.Observe(x.at, x.dir, build(t, x), x.fate)
	}
	return f
}

const (
	ack = packet.ACK
	psh = packet.ACK | packet.PSH
	fin = packet.ACK | packet.FIN
)

func handshake() []seg {
	return []seg{
		{0, cs, packet.SYN, 0, 0, "", Passed},
		{10 * ms, sc, packet.SYN | ack, 0, 1, "", Passed},
		{12 * ms, cs, ack, 1, 1, "", Passed},
	}
}

// TestTurns holds whose turn it is, how often it changed, and what each side
// sent.
func TestTurns(t *testing.T) {
	f := flowOf(t, append(handshake(),
		seg{20 * ms, cs, psh, 1, 1, "hello", Passed},
		seg{21 * ms, cs, psh, 6, 1, "world", Passed}, // the same turn
		seg{30 * ms, cs, psh, 6, 1, "world", Passed}, // sent again
		seg{40 * ms, sc, psh, 1, 11, "answer", Passed},
		seg{50 * ms, cs, psh, 11, 7, "more", Passed},
	)...)
	if f.Turns != 3 || f.Turn != ClientSent || f.Unseen {
		t.Errorf("turns %d, turn %d, unseen %v", f.Turns, f.Turn, f.Unseen)
	}
	if f.Half[cs].Bytes != 14 || f.Half[sc].Bytes != 6 || f.Half[cs].Resent != 1 {
		t.Errorf("client %+v, server %+v", f.Half[cs], f.Half[sc])
	}
	if awaits, known := f.Awaits(); !awaits || !known {
		t.Errorf("awaits %v, known %v", awaits, known)
	}
	if f.RTT != [2]uint32{2000, 10000} {
		t.Errorf("round trips %v", f.RTT)
	}
	if !f.Half[cs].Unacked() || f.Half[sc].Unacked() {
		t.Error("of both sides the client alone has something unacknowledged")
	}
}

// TestUnseen holds that payload which passed unseen is counted, and that it is
// then not known whose turn it is, until one is seen to send.
func TestUnseen(t *testing.T) {
	f := flowOf(t, append(handshake(), seg{time.Second, cs, fin, 1001, 3001, "", Passed})...)
	if f.Half[cs].Bytes != 1000 || f.Half[sc].Bytes != 3000 {
		t.Errorf("client %d, server %d bytes", f.Half[cs].Bytes, f.Half[sc].Bytes)
	}
	if _, known := f.Awaits(); known || !f.Unseen {
		t.Errorf("known %v, unseen %v", known, f.Unseen)
	}
	f = flowOf(t, append(handshake(), seg{time.Second, cs, psh, 1001, 3001, "x", Passed})...)
	if awaits, known := f.Awaits(); !awaits || !known || f.Half[cs].Bytes != 1001 {
		t.Errorf("awaits %v, known %v, %d bytes", awaits, known, f.Half[cs].Bytes)
	}
	f = flowOf(t, seg{0, sc, ack, 40, 70, "", Passed})
	if _, known := f.Awaits(); known || !f.Connected() || !f.Accepted() {
		t.Error("of a connection that was open before nothing is known, but that it is open")
	}
}

// TestForged holds that what none of the ends sent is not taken for payload that
// passed unseen when it is acknowledged.
func TestForged(t *testing.T) {
	f := flowOf(t, handshake()...)
	f.Forged(sc, build(t, seg{dir: sc, flags: fin, seq: 1, ack: 1}))
	f.Observe(time.Second, cs, build(t, seg{dir: cs, flags: ack, seq: 1, ack: 2}), Dropped)
	if f.Unseen || f.Half[sc].Bytes != 0 || f.Half[sc].FIN {
		t.Errorf("unseen %v, server %+v", f.Unseen, f.Half[sc])
	}
}

// TestSilence holds the longest silences and what ended them.
func TestSilence(t *testing.T) {
	f := flowOf(t, append(handshake(),
		seg{20 * ms, cs, psh, 1, 1, "a", Passed},
		seg{30 * ms, sc, psh, 1, 2, "b", Passed},
		seg{430 * ms, cs, ack, 1, 2, "", Passed}, // a probe
		seg{430 * ms, sc, ack, 2, 2, "", Passed},
		seg{930 * ms, cs, ack, 1, 2, "", Passed},
		seg{930 * ms, sc, ack, 2, 2, "", Passed},
		seg{1130 * ms, cs, psh, 2, 2, "c", Passed},
	)...)
	if want := (Silence{500 * ms, Keepalive, cs}); f.Longest != want {
		t.Errorf("longest %+v, want %+v", f.Longest, want)
	}
	if want := (Silence{1100 * ms, Data, cs}); f.LongestData != want {
		t.Errorf("longest without data %+v, want %+v", f.LongestData, want)
	}
	if f.Half[cs].Keepalives != 2 || f.Half[sc].Keepalives != 0 {
		t.Errorf("%d and %d keepalives", f.Half[cs].Keepalives, f.Half[sc].Keepalives)
	}
	if got := f.Silent(2 * time.Second); got.For != 870*ms || got.Ended != None {
		t.Errorf("the silence that lasts: %+v", got)
	}
}

// TestPrevents holds what kept a connection from being silent for a second.
func TestPrevents(t *testing.T) {
	talk := func(until time.Duration, more ...seg) []seg {
		segs := handshake()
		var c, s uint32 = 1, 1
		for at := 100 * ms; at <= until; at += 500 * ms {
			segs = append(segs, seg{at, cs, psh, c, s, "x", Passed}, seg{at, sc, psh, s, c + 1, "y", Passed})
			c, s = c+1, s+1
		}
		return append(segs, more...)
	}
	probe := func(at time.Duration) seg { return seg{at, cs, ack, 1, 2, "", Passed} }
	for _, c := range []struct {
		name string
		segs []seg
		all  bool
		at   time.Duration
		want Prevention
		how  time.Duration
	}{
		{"a heartbeat", talk(5 * time.Second), true, 5 * time.Second, ByData, 500 * ms},
		{"keepalives", talk(100*ms, probe(700*ms), probe(1300*ms), probe(1900*ms)), true, 2 * time.Second, ByKeepalives, 600 * ms},
		{"keepalives, where data alone count", talk(100*ms, probe(700*ms), probe(1300*ms)), false, 2 * time.Second, NotPrevented, 1900 * ms},
		{"retired after 800 ms", talk(100*ms, seg{900 * ms, cs, fin, 2, 2, "", Passed}, seg{901 * ms, sc, fin, 2, 3, "", Passed}), true, 9 * time.Second, ByClient, 800 * ms},
		{"closed by the server", talk(100*ms, seg{900 * ms, sc, fin, 2, 2, "", Passed}, seg{901 * ms, cs, fin, 2, 3, "", Passed}), true, 9 * time.Second, ByServer, 800 * ms},
		{"used for long, then retired", talk(3*time.Second, seg{2800 * ms, cs, fin, 7, 7, "", Passed}), true, 9 * time.Second, ByData, 500 * ms},
		{"idle", talk(100 * ms), true, 2 * time.Second, NotPrevented, 1900 * ms},
		{"open for less than that", talk(100 * ms), true, 600 * ms, NotPrevented, 500 * ms},
	} {
		got, how := flowOf(t, c.segs...).Prevents(time.Second, c.all, c.at)
		if got != c.want || how != c.how {
			t.Errorf("%s: %s, %v; want %s, %v", c.name, got, how, c.want, c.how)
		}
	}
}

// TestStages holds what is known of handshakes and of ends.
func TestStages(t *testing.T) {
	f := flowOf(t, seg{0, cs, packet.SYN, 0, 0, "", Passed})
	if f.Connected() || f.Accepted() || f.Closed() {
		t.Error("a SYN is no connection")
	}
	f = flowOf(t, handshake()[:2]...)
	if !f.Connected() || f.Accepted() {
		t.Error("a SYN-ACK ends connect(), not the handshake")
	}
	held := handshake()[:2]
	held[1].fate = Dropped
	if f = flowOf(t, held...); f.Connected() {
		t.Error("a SYN-ACK that was dropped ends nothing")
	}
	closing := append(handshake(), seg{ms * 20, cs, fin, 1, 1, "", Passed}, seg{ms * 21, sc, fin, 1, 2, "", Passed})
	if f = flowOf(t, closing...); f.Closed() {
		t.Error("the server's FIN is not acknowledged")
	}
	if f = flowOf(t, append(closing, seg{ms * 22, cs, ack, 2, 2, "", Passed})...); !f.Closed() || !f.Accepted() {
		t.Error("both have closed")
	}
	if f = flowOf(t, append(handshake(), seg{ms * 20, sc, packet.RST | ack, 1, 1, "", Passed})...); !f.Closed() {
		t.Error("a RST ends all")
	}
}

// TestRequests holds that the same request is known again, and another is not.
func TestRequests(t *testing.T) {
	ask := func(parts ...string) uint64 {
		segs := handshake()
		at := uint32(1)
		for _, p := range parts {
			segs = append(segs, seg{20 * ms, cs, psh, at, 1, p, Passed})
			at += uint32(len(p))
		}
		return flowOf(t, segs...).Request()
	}
	pay := ask("pay 5")
	if pay == 0 || ask("pay 6") == pay || ask("pay 5 ") == pay {
		t.Error("another request is taken for the same")
	}
	if ask("pay", " 5") != pay {
		t.Error("the same in two segments is taken for another one")
	}
	if ask() != 0 {
		t.Error("a connection without a request has one")
	}
}

// TestNothingAllocates holds that a segment costs no memory, and a connection
// little.
func TestNothingAllocates(t *testing.T) {
	s := build(t, seg{0, cs, psh, 1, 1, "hello", Passed})
	var f Flow
	if n := testing.AllocsPerRun(100, func() { f.Observe(f.Last+ms, cs, s, Passed) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
	if n := reflect.TypeFor[Flow]().Size(); n > 256 {
		t.Errorf("a Flow takes %d bytes", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	s := build(b, seg{0, cs, psh, 1, 1, "hello", Passed})
	var f Flow
	for b.Loop() {
		f.Observe(f.Last+1, cs, s, Passed)
	}
}
