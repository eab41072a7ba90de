package injector

import (
	"net/netip"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/target"
	"golang.org/x/sys/unix"
)

// TestTries checks which SYNs belong to one try.
func TestTries(t *testing.T) {
	const ms = time.Millisecond
	type syn struct {
		at   time.Duration
		port uint16
		v6   bool
	}
	for name, c := range map[string]struct {
		syns []syn
		want []uint64 // the ordinal of each
	}{
		"both families":            {[]syn{{0, 80, true}, {250 * ms, 80, false}, {900 * ms, 80, true}, {1150 * ms, 80, false}}, []uint64{0, 0, 1, 1}},
		"too late":                 {[]syn{{0, 80, true}, {450 * ms, 80, false}}, []uint64{0, 1}},
		"another port":             {[]syn{{0, 80, true}, {250 * ms, 81, false}}, []uint64{0, 1}},
		"the same family":          {[]syn{{0, 80, true}, {10 * ms, 80, true}}, []uint64{0, 1}},
		"two at once, in order":    {[]syn{{0, 80, true}, {1 * ms, 80, true}, {250 * ms, 80, false}, {251 * ms, 80, false}, {252 * ms, 80, false}}, []uint64{0, 1, 0, 1, 2}},
		"a retry of both families": {[]syn{{0, 80, true}, {1 * ms, 80, false}, {100 * ms, 80, true}, {101 * ms, 80, false}}, []uint64{0, 0, 1, 1}},
		"IPv4 first":               {[]syn{{time.Hour, 80, false}, {time.Hour + 300*ms, 80, true}}, []uint64{0, 0}},
		"days later":               {[]syn{{0, 80, true}, {72 * time.Hour, 80, false}}, []uint64{0, 1}},
	} {
		for _, next := range []uint64{0, 7, 1<<24 - 1, 1 << 40} {
			var ts tries
			n := next
			for i, s := range c.syns {
				nth, joined := ts.join(s.at, s.port, s.v6, n)
				if !joined {
					nth = n
					n++
					ts.begin(s.at, s.port, s.v6, nth)
				}
				if nth != next+c.want[i] {
					t.Errorf("%s, from %d: SYN %d has the ordinal %d, want %d", name, next, i, nth, next+c.want[i])
				}
			}
		}
	}
}

// TestSucceeded checks that a try is over when its connection is open for the client.
func TestSucceeded(t *testing.T) {
	r := ruleOf(model(t, "reset", "at", "bytes=100m"))
	r.Pick = target.Pick{Every: 2}
	b := newBench(t, r)
	send := func(a string, flags packet.Flags) {
		to := netip.AddrPortFrom(netip.MustParseAddr(a), 5432)
		f := packet.Fields{Src: netip.AddrPortFrom(to.Addr(), 40000), Dst: to, TTL: 64, DF: true, Seq: 1, Ack: 1, Flags: flags, Window: 1000}
		b.judge(t, unix.NF_INET_LOCAL_OUT, f.Append(nil, nil))
	}
	send("::1", packet.SYN)
	send("::1", packet.ACK)
	send("127.0.0.1", packet.SYN)
	if next := b.rules[0].next.Load(); next != 2 {
		t.Errorf("%d tries, want 2", next)
	}
}

// TestHappyEyeballs checks that both families of one try draw the same lot, that a
// retry draws another, and that connections which only pass through, or arrive from
// elsewhere, are not taken for one try.
func TestHappyEyeballs(t *testing.T) {
	v4, v6 := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")
	for hook, want := range map[uint8][]bool{
		unix.NF_INET_LOCAL_OUT: {true, true, false, false},
		forward:                {true, false, true, false},
		unix.NF_INET_LOCAL_IN:  {true, false, true, false},
	} {
		r := ruleOf(model(t, "refuse"))
		r.Pick = target.Pick{Every: 2}
		b := newBench(t, r)
		for i, a := range []netip.Addr{v6, v4, v6, v4} {
			f := packet.Fields{Src: netip.AddrPortFrom(a, 40000+uint16(i)), Dst: netip.AddrPortFrom(a, 5432), TTL: 64, DF: true, Seq: 1, Flags: packet.SYN, Window: 1000}
			before := b.rules[0].chosen.Load()
			b.judge(t, hook, f.Append(nil, nil))
			if got := b.rules[0].chosen.Load() > before; got != want[i] {
				t.Errorf("hook %d: SYN %d is struck: %v, want %v", hook, i, got, want[i])
			}
			b.now += 300 * time.Millisecond
		}
		if flows, chosen := b.rules[0].flows.Load(), b.rules[0].chosen.Load(); flows != 4 || chosen != 2 {
			t.Errorf("hook %d: %d of %d chosen, want 2 of 4", hook, chosen, flows)
		}
	}
}
