package injector

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
)

// TestGSOSizeUnknown checks that nothing is cut here while it is not sure how, and
// that what follows on the way goes the same way: nothing changes places.
func TestGSOSizeUnknown(t *testing.T) {
	b := newBench(t, ruleOf(NamedModel{"delay", delayModel{0}}))
	b.gsoQueue = true
	expect := func(what string, again, other int) {
		t.Helper()
		if a, o := b.again(); a != again || o != other {
			t.Errorf("%s: %d handed back, %d other verdicts; want %d and %d", what, a, o, again, other)
		}
	}
	b.next(false)
	first := b.gsoPacket(1, packet.ACK, 3000)
	expect("nothing is known", 1, 0)
	ack := b.gsoPacket(3001, packet.ACK, 0)
	expect("what follows at once", 1, 0)
	b.next(true)
	second := b.gsoPacket(3001, packet.ACK, 2000)
	expect("it was there before the first comes again", 1, 0)
	b.pieces(first)
	b.pieces(ack)
	expect("the first and the acknowledgment come again", 0, 4)
	third := b.gsoPacket(5001, packet.ACK, 2000)
	expect("the second has not come again", 1, 0)
	b.next(false)
	b.pieces(second)
	b.pieces(third)
	expect("the others come again", 0, 4)
	fourth := b.gsoPacket(7001, packet.ACK, 2000)
	expect("the queue was not empty since", 1, 0)
	b.next(false)
	b.pieces(fourth)
	b.again()
	b.next(false)
	b.gsoPacket(9001, packet.ACK, 2000)
	expect("all have come", 0, 1)
	b.gsoPacket(11001, packet.ACK, 0)
	expect("and it stands for itself", 0, 1)
	if n := b.totals.diverted.Load(); n != 3+1+2+2+2+2+1 || b.matched() != 7 {
		t.Errorf("%d segments counted, and %d packets; want 13 and 7", n, b.matched())
	}
}

// TestGSOSizeDoubted checks what it takes to see once more how the kernel cuts.
func TestGSOSizeDoubted(t *testing.T) {
	for name, c := range map[string]struct {
		seq   packet.Seq
		flags packet.Flags
		size  int
		after time.Duration
		want  int
	}{
		"full segments":           {3001, packet.ACK, 2000, 0, 0},
		"a short last, pushed":    {3001, packet.ACK | packet.PSH, 2100, 0, 0},
		"the end":                 {3001, packet.ACK | packet.FIN, 2100, 0, 0},
		"a short last for nought": {3001, packet.ACK, 2100, 0, 1},
		"sent again":              {2001, packet.ACK, 2000, 0, 1},
		"congestion was reported": {3001, packet.ACK | packet.CWR, 2000, 0, 1},
		"urgent":                  {3001, packet.ACK | packet.URG, 2000, 0, 1},
		"long ago":                {3001, packet.ACK, 2000, sizeFor + 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			b := known(t, NamedModel{"delay", delayModel{0}})
			b.now = c.after
			b.gsoPacket(c.seq, c.flags, c.size)
			if again, _ := b.again(); again != c.want {
				t.Errorf("%d handed back, want %d", again, c.want)
			}
		})
	}
	t.Run("cut into another number", func(t *testing.T) {
		b := known(t, NamedModel{"delay", delayModel{0}})
		b.gsoPacket(3001, packet.ACK|packet.PSH, 2100)
		b.ip++ // it was four of the kernel's
		b.gsoPacket(5101, packet.ACK|packet.PSH, 2100)
		if again, _ := b.again(); again != 1 {
			t.Errorf("%d handed back, want the second", again)
		}
	})
	t.Run("one passed unjudged", func(t *testing.T) { // and took the numbers
		b := known(t, NamedModel{"delay", delayModel{0}})
		b.gsoPacket(3001, packet.ACK|packet.PSH, 2100)
		b.ip += 7
		b.gsoPacket(12_101, packet.ACK|packet.PSH, 2100)
		if again, _ := b.again(); again != 0 {
			t.Errorf("%d handed back", again)
		}
	})
	t.Run("a segment was sent again", func(t *testing.T) {
		b := known(t, NamedModel{"delay", delayModel{0}})
		b.unnumbered = true
		b.gsoPacket(2001, packet.ACK, 1000)
		b.gsoPacket(3001, packet.ACK|packet.PSH, 2100)
		if again, _ := b.again(); again != 1 {
			t.Errorf("%d handed back, want the one after it", again)
		}
	})
	t.Run("no longer than a segment", func(t *testing.T) {
		b := known(t, NamedModel{"delay", delayModel{0}})
		b.id++
		b.handle(&nfqueue.Packet{ID: b.id | nfqueue.GSOQueue, Hook: localOut, Bytes: segment(faults.Original, packet.ACK|packet.PSH, 3001, 1, "short"), GSO: true})
		if again, _ := b.again(); again != 1 {
			t.Error("it was not handed back")
		}
	})
	t.Run("cut off", func(t *testing.T) { // longer than the queue hands over
		b := known(t, NamedModel{"delay", delayModel{0}})
		b.id++
		pkt := segment(faults.Original, packet.ACK|packet.PSH, 3001, 1, string(make([]byte, 4000)))
		b.handle(&nfqueue.Packet{ID: b.id | nfqueue.GSOQueue, Hook: localOut, Bytes: pkt[:3000], GSO: true})
		if again, _ := b.again(); again != 1 {
			t.Error("it was not handed back")
		}
	})
	t.Run("beyond 64 KiB", func(t *testing.T) { // its header says no length (BIG TCP)
		b := known(t, NamedModel{"delay", delayModel{0}})
		b.id++
		pkt := segment(faults.Original, packet.ACK|packet.PSH, 3001, 1, string(make([]byte, 65_400)))
		pkt = append(pkt, make([]byte, nfqueue.MaxCopied-len(pkt))...)
		pkt[2], pkt[3] = 0, 0
		b.handle(&nfqueue.Packet{ID: b.id | nfqueue.GSOQueue, Hook: localOut, Bytes: pkt, GSO: true})
		if again, _ := b.again(); again != 1 {
			t.Error("it was not handed back")
		}
	})
}

// TestGSOLongerHeader checks that what the headers of a packet have more its segments
// have less: Linux takes the length of all of them from what a way carries.
func TestGSOLongerHeader(t *testing.T) {
	b := known(t, NamedModel{"delay", delayModel{time.Millisecond}})
	b.runDue(time.Minute)
	b.s.pkts = nil
	pkt := segment(faults.Original, packet.ACK|packet.PSH, 3001, 1, string(make([]byte, 1800)))
	pkt = slices.Insert(pkt, 20, 148, 4, 0, 0) // IPv4's option router alert
	pkt[0]++
	pkt[3] += 4
	pkt[5] += byte(b.ip)
	b.id++
	b.handle(&nfqueue.Packet{ID: b.id | nfqueue.GSOQueue, Hook: localOut, Bytes: pkt, GSO: true})
	b.runDue(time.Minute)
	var got []int
	for _, p := range b.s.pkts {
		got = append(got, len(p))
	}
	if want := []int{1040, 44 + 804}; !slices.Equal(got, want) {
		t.Errorf("%d bytes were sent, want %d", got, want)
	}
}

// TestCutIsCounted checks that a segment which the queue hands over in part goes on
// as it is, and is counted, where a fault would have changed or copied it.
func TestCutIsCounted(t *testing.T) {
	for fault, c := range map[string]struct {
		knobs []string
		sent  int
	}{
		"corrupt": {knobs: []string{"chance", "100%"}}, "duplicate": {knobs: []string{"chance", "100%"}}, "slice": {knobs: []string{"size", "10"}},
		"stall": {[]string{"at", "now"}, 1}, // before it goes that there is no window
	} {
		b := newBench(t, ruleOf(model(t, fault, c.knobs...)))
		pkt := segment(faults.Original, packet.ACK, 100, 1, strings.Repeat("x", 1000))
		if v := b.judge(t, forward, pkt[:100]); v.Drop || v.Bytes != nil || len(b.s.pkts) != c.sent {
			t.Errorf("%s: a segment in part gets %+v, %d packets sent, want %d", fault, v, len(b.s.pkts), c.sent)
		}
		if got := b.totals.cut.Load(); got != 1 {
			t.Errorf("%s: %d packets counted as cut, want 1", fault, got)
		}
		if b.judge(t, forward, segment(faults.Original, packet.ACK, 1100, 1, "whole and long enough")); b.totals.cut.Load() != 1 {
			t.Errorf("%s: a whole one is counted", fault)
		}
	}
}
