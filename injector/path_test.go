package injector

import (
	"testing"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
)

func TestForeignPacketsPass(t *testing.T) {
	b := newBench(t, ruleOf(model(t, "reset")))
	udp := segment(faults.Original, packet.SYN, 0, 0, "")
	udp[9] = 17
	if v := b.judge(t, forward, udp); v.Drop || v.Signal != 0 {
		t.Errorf("verdict %+v on a packet that is no TCP", v)
	}
	if got := b.totals.foreign.Load(); got != 1 {
		t.Errorf("foreign = %d, want 1", got)
	}
}

func TestDropWithCaptureIsOneVerdict(t *testing.T) {
	b := newBench(t, ruleOf(model(t, "reset", "at", "syn")))
	v := b.judge(t, forward, segment(faults.Original, packet.SYN, 100, 0, ""))
	if want := uint32(ruleset.Forget | ruleset.Capture | ruleset.Drop); v.Drop || v.Signal != want {
		t.Errorf("verdict drop=%v signal=%#x, want an accept with signal %#x", v.Drop, v.Signal, want)
	}
	if len(b.s.pkts) != 1 || b.s.marks[0] != 7 {
		t.Fatalf("sent %d packets with marks %v, want one with the mark of its flow", len(b.s.pkts), b.s.marks)
	}
	rst, err := packet.Parse(b.s.pkts[0])
	if err != nil || rst.Flags() != packet.RST|packet.ACK || rst.Ack() != 101 || rst.Seq() != 0 {
		t.Errorf("forged %v seq %d ack %d, %v; want R. seq 0 ack 101", rst.Flags(), rst.Seq(), rst.Ack(), err)
	}
}

func TestReplySaysItsDirection(t *testing.T) {
	b := newBench(t, ruleOf(model(t, "idle-expire", "after", "1s")))
	v := b.judge(t, forward, segment(faults.Reply, packet.ACK, 1, 1, "x"))
	if want := uint32(ruleset.Admit | ruleset.Reply); v.Signal != want {
		t.Errorf("signal %#x, want %#x", v.Signal, want)
	}
	if v.Priority != 5 {
		t.Errorf("priority %d, want the packet's own, 5", v.Priority)
	}
}

func TestUnchosenFlowIsReleasedOnce(t *testing.T) {
	r := ruleOf(model(t, "reset"))
	r.Pick.Skip = 1
	b := newBench(t, r)
	v := b.judge(t, forward, segment(faults.Original, packet.SYN, 100, 0, ""))
	if want := uint32(ruleset.Forget | ruleset.Release); v.Signal != want {
		t.Errorf("signal %#x on the first segment, want %#x", v.Signal, want)
	}
	if v := b.judge(t, forward, segment(faults.Original, packet.ACK, 101, 1, "")); v.Signal != 0 {
		t.Errorf("signal %#x on the second segment, want none", v.Signal)
	}
}

func TestNewConnectionOnOldAddresses(t *testing.T) {
	r := ruleOf(model(t, "reset", "at", "syn"))
	r.Pick.First = 1
	b := newBench(t, r)
	b.judge(t, forward, segment(faults.Original, packet.SYN, 100, 0, ""))
	if v := b.judge(t, forward, segment(faults.Original, packet.SYN, 100, 0, "")); !v.Drop {
		t.Errorf("a retransmitted SYN of a dead connection got %+v, want a drop", v)
	}
	if v := b.judge(t, forward, segment(faults.Original, packet.SYN, 9000, 0, "")); v.Drop || v.Signal&uint32(ruleset.Forget) == 0 {
		t.Errorf("the SYN of a new connection got %+v, want it to pass and to clear the sets", v)
	}
	if n := len(b.flows.flows) + b.parked.n; n != 1 {
		t.Errorf("%d flows known, want 1", n)
	}
}

// TestNoAllocs checks that judging the packets of a known flow allocates
// nothing, whatever fault watches.
func TestNoAllocs(t *testing.T) {
	for _, m := range []NamedModel{
		model(t, "syn-drop"), model(t, "idle-expire", "after", "1h"), model(t, "reset", "at", "bytes=1000000"),
		model(t, "half-open", "at", "now", "peer", "crashed"), model(t, "reset", "at", "now"),
	} {
		t.Run(m.Name, func(t *testing.T) {
			b := newBench(t, ruleOf(m))
			quiet := &silentQueue{}
			b.queue, b.sender = quiet, quiet
			there, back := segment(faults.Original, packet.ACK, 1, 1, "ping"), segment(faults.Reply, packet.ACK, 1, 5, "pong")
			p := nfqueue.Packet{ID: 1, Hook: forward}
			judge := func() {
				p.Bytes = there
				b.handle(&p)
				p.Bytes = back
				b.handle(&p)
			}
			judge()
			if n := testing.AllocsPerRun(1000, judge); n != 0 {
				t.Errorf("%v allocations for two packets, want none", n)
			}
		})
	}
}

func BenchmarkJudge(b *testing.B) {
	w := newBench(b, ruleOf(model(b, "reset", "at", "bytes=1000000000000")))
	quiet := &silentQueue{}
	w.queue, w.sender = quiet, quiet
	p := nfqueue.Packet{ID: 1, Hook: forward, Bytes: segment(faults.Original, packet.ACK, 1, 1, "ping")}
	b.ReportAllocs()
	for b.Loop() {
		w.handle(&p)
	}
}
