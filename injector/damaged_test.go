package injector

import (
	"testing"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
)

// TestDamaged checks that a segment with a wrong checksum is left to its receiver,
// which discards it, except by faults of the path.
func TestDamaged(t *testing.T) {
	for name, c := range map[string]struct {
		m          NamedModel
		unverified bool
		drop       bool
		sent       int
	}{
		"verified by nobody":   {model(t, "reset", "at", "request"), true, false, 0},
		"verified by a device": {model(t, "reset", "at", "request"), false, false, 1},
		"on the path":          {model(t, "partition"), true, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, ruleOf(c.m))
			b.judge(t, forward, segment(faults.Reply, packet.ACK, 1, 101, ""))
			pkt := segment(faults.Original, packet.ACK, 101, 1, "x")
			seg, _ := packet.Parse(pkt)
			f, _ := b.find(seg, 0)
			pkt[len(pkt)-1] ^= 1
			v := b.judgePacket(t, nfqueue.Packet{Hook: forward, Bytes: pkt, Unverified: c.unverified})
			if drop := v.Drop || v.Signal&uint32(ruleset.Drop) != 0; drop != c.drop || len(b.s.pkts) != c.sent {
				t.Errorf("drop %v, sent %d; want %v, %d", drop, len(b.s.pkts), c.drop, c.sent)
			}
			if c.unverified && f.Half[faults.Original].Seen {
				t.Error("the flow includes a segment that its receiver discards")
			}
		})
	}
}
