package injector

import (
	"net/netip"
	"testing"

	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/target"
)

// TestOnly checks that the connections of given ordinals are chosen, whatever
// else Pick says, and that what becomes of one depends on nothing but the seed,
// its ordinal and its segments.
func TestOnly(t *testing.T) {
	loss := func(pick target.Pick) (fates []bool, chosen uint64) {
		r := ruleOf(model(t, "loss", "chance", "50%"))
		r.Pick = pick
		b := newBench(t, r)
		b.seed = 7
		for port := uint16(40000); port < 40010; port++ {
			for seq := packet.Seq(1); seq < 9; seq++ {
				f := packet.Fields{Src: client, Dst: server, TTL: 64, DF: true, Seq: seq, Ack: 1, Flags: packet.ACK, Window: 1000}
				f.Src = netip.AddrPortFrom(client.Addr(), port)
				v := b.judge(t, forward, f.Append(nil, []byte{1}))
				if port == 40003 || port == 40008 {
					fates = append(fates, v.Drop)
				}
			}
		}
		return fates, b.rules[0].chosen.Load()
	}
	all, _ := loss(target.Pick{})
	some, chosen := loss(target.Pick{Only: target.NewOrdinals([]uint64{8, 3}), Skip: 100, Max: 1, Share: target.ShareOf(0.001)})
	if chosen != 2 {
		t.Errorf("%d chosen, want 2", chosen)
	}
	lost := 0
	for i := range all {
		if all[i] != some[i] {
			t.Errorf("segment %d: dropped %v, and %v where the others were not chosen", i, all[i], some[i])
		}
		if all[i] {
			lost++
		}
	}
	if lost == 0 || lost == len(all) {
		t.Errorf("%d of %d segments lost: this shows nothing", lost, len(all))
	}
	if _, chosen = loss(target.Pick{Only: target.NewOrdinals(nil)}); chosen != 0 {
		t.Errorf("%d chosen of none", chosen)
	}
}
