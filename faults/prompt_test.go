package faults

import (
	"net/netip"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults/packet"
)

// TestPrompt holds that each fault that waits for a moment acts at the next segment once
// it is prompted, on a connection that was open before too, and that the others say that
// they cannot be prompted.
func TestPrompt(t *testing.T) {
	client, server := netip.MustParseAddrPort("10.0.0.1:40000"), netip.MustParseAddrPort("10.0.0.2:5432")
	can := map[string]bool{"reset": true, "closed-socket": true, "half-open": true, "nat-leak": true, "partition": true, "stall": true, "hang": true}
	for _, k := range Catalog {
		m := k.New()
		if _, waits := Get(m, "at"); waits {
			if err := Set(m, "at", "bytes=1000000"); err != nil {
				t.Fatal(err)
			}
		}
		if k.Name == "throttle" {
			if err := Set(m, "rate", "1mbit"); err != nil {
				t.Fatal(err)
			}
		}
		c := NewChain(StartAll([]Model{m}))
		if got := c.Prompt(0); got != can[k.Name] {
			t.Errorf("%s can be prompted: %v", k.Name, got)
		}
		if !can[k.Name] {
			continue
		}
		flow, acted := &Flow{}, false
		for n, dir := range []Direction{Original, Reply, Original, Reply} { // one segment of each end is enough
			f := packet.Fields{Src: client, Dst: server, Seq: 100, Ack: 900, Flags: packet.ACK | packet.PSH, TTL: 64, Window: 500}
			if dir == Reply {
				f.Src, f.Dst, f.Seq, f.Ack = f.Dst, f.Src, 900, 103
			}
			seg, err := packet.Parse(f.Append(nil, []byte("abc")))
			if err != nil {
				t.Fatal(err)
			}
			at := time.Duration(n) * time.Millisecond
			flow.Client, flow.Server = client, server
			fresh := flow.Observe(at, dir, seg)
			var out Effects
			out.Reset()
			v, _ := c.OnSegment(&Event{At: at, Dir: dir, Seg: seg, Flow: flow, Fresh: fresh}, &out)
			acted = acted || len(out.Notes) > 0 || len(out.Forged) > 0 || v == Drop
			if v == Accept {
				flow.Pass(dir, seg)
			}
		}
		if !acted {
			t.Errorf("%s was prompted, and has done nothing to four segments", k.Name)
		}
	}
}
