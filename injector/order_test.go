package injector

import (
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
)

// TestDelayKeepsOrder holds that of 20,000 segments that are held at once none
// overtakes, however their delay jitters, unless that is asked for.
func TestDelayKeepsOrder(t *testing.T) {
	const n = 20_000
	for name, hook := range map[string]uint8{"input": localIn, "forward": forward, "output": localOut} {
		for _, reorder := range []string{"false", "true"} {
			b := newBench(t, ruleOf(model(t, "delay", "by", "50ms", "jitter", "10ms", "reorder", reorder)))
			for i := range n {
				b.now = time.Second + time.Duration(i)*time.Microsecond
				b.id++
				b.handle(&packetIn{id: b.id, hook: hook, bytes: segment(faults.Original, packet.ACK, packet.Seq(i), 1, "x")})
			}
			if hook == localOut { // the copies remain
				b.q.verdicts = nil
			}
			if len(b.s.pkts)+len(b.q.verdicts) != 0 {
				t.Fatalf("%s: %d are gone already", name, len(b.s.pkts)+len(b.q.verdicts))
			}
			for at := b.now; at < b.now+100*time.Millisecond; at += time.Millisecond {
				b.runDue(at)
			}
			var order []uint32
			for _, v := range b.q.verdicts {
				order = append(order, v.id)
			}
			for _, p := range b.s.pkts {
				seg, err := packet.Parse(p)
				if err != nil {
					t.Fatal(err)
				}
				order = append(order, uint32(seg.Seq())+1)
			}
			overtaken := 0
			for i := 1; i < len(order); i++ {
				if order[i] < order[i-1] {
					overtaken++
				}
			}
			if len(order) != n || (overtaken > 0) != (reorder == "true") {
				t.Errorf("%s, reorder %s: %d of %d left, %d times one was overtaken", name, reorder, len(order), n, overtaken)
			}
		}
	}
}
