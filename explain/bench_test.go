package explain_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/faultctl/faultctl/explain"
)

// BenchmarkTable measures a connection that is opened, used once and closed, which is
// what most connections are.
func BenchmarkTable(b *testing.B) {
	segs := then(seg{at: 30 * ms, from: "C", flags: "F.", seq: 101, ack: 201}, seg{at: 40 * ms, from: "S", flags: "F.", seq: 201, ack: 102}, seg{at: 40 * ms, from: "C", flags: ".", seq: 102, ack: 202})
	var packets []explain.Packet
	for i, s := range segs {
		packets = append(packets, s.packet(b, i+1, low))
	}
	table := explain.New(func(f explain.Finding) { b.Errorf("%+v", f) })
	table.Linger = time.Second
	at := start
	b.ReportAllocs()
	for b.Loop() {
		at = at.Add(100 * time.Microsecond)
		port := uint16(20000 + table.Counts.Connections%30000)
		for _, p := range packets {
			p.At = at.Add(p.At.Sub(start))
			if end := netip.AddrPortFrom(client.Addr(), port); p.SrcAddrPort() == server {
				p.SetEnds(server, end)
			} else {
				p.SetEnds(end, server)
			}
			table.Add(p)
		}
	}
}
