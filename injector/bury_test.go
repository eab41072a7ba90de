package injector

import (
	"testing"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
)

// TestBury checks that a server's socket that its client takes for dead is closed
// before a new connection takes its place, and that one whose client knows it is not.
func TestBury(t *testing.T) {
	for name, c := range map[string]struct {
		m      NamedModel
		closes bool
	}{
		"rebooted":     {model(t, "half-open", "peer", "rebooted"), true},
		"crashed":      {model(t, "half-open", "peer", "crashed"), false},
		"reset":        {model(t, "reset", "hit", "client"), true},
		"learns later": {model(t, "reset", "hit", "client", "other", "answer"), false},
		"expired":      {model(t, "idle-expire", "after", "1h"), false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, ruleOf(c.m))
			b.judge(t, forward, segment(faults.Original, packet.SYN, 100, 0, ""))
			b.judge(t, forward, segment(faults.Reply, packet.SYN|packet.ACK, 500, 101, ""))
			b.judge(t, forward, segment(faults.Original, packet.ACK, 101, 501, ""))
			b.judge(t, forward, segment(faults.Original, packet.ACK|packet.PSH, 101, 501, "request"))
			b.s.pkts = nil
			b.judge(t, forward, segment(faults.Original, packet.SYN, 9000, 0, ""))
			if !c.closes {
				if len(b.s.pkts) != 0 {
					t.Errorf("%d segments were sent at the new SYN, want none", len(b.s.pkts))
				}
				return
			}
			if len(b.s.pkts) != 1 {
				t.Fatalf("%d segments were sent at the new SYN, want a RST", len(b.s.pkts))
			}
			rst, err := packet.Parse(b.s.pkts[0])
			if err != nil || rst.DstAddrPort() != server || rst.Flags() != packet.RST || rst.Seq() != 101 {
				t.Errorf("sent %v to %v, seq %d, %v; want R to %v, seq 101", rst.Flags(), rst.DstAddrPort(), rst.Seq(), err, server)
			}
		})
	}
}
