package nfqueue

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/faults/packet"
)

// read lists verdict messages: "accept 3", "drop 4", "accept..7" for a batch.
func read(t *testing.T, b []byte) string {
	t.Helper()
	var out []string
	for len(b) > 0 {
		size := int(binary.NativeEndian.Uint32(b))
		if size < 32 || size > len(b) || size&3 != 0 {
			t.Fatalf("a message of %d bytes in %d", size, len(b))
		}
		kind := binary.NativeEndian.Uint16(b[4:])
		what, id := binary.BigEndian.Uint32(b[24:]), binary.BigEndian.Uint32(b[28:])
		word := map[uint32]string{nfDrop: "drop", nfAccept: "accept", nfRepeat: "repeat"}[what]
		if what&0xff == nfQueue {
			word = fmt.Sprintf("to queue %d%s", what>>16, map[bool]string{true: " with bypass"}[what&queueBypass != 0])
		}
		if n := binary.BigEndian.Uint16(b[18:]); n != 0 { // 0 is the queue of these tests
			word = fmt.Sprintf("[%d] %s", n, word)
		}
		switch kind {
		case msgVerdict:
			out = append(out, fmt.Sprintf("%s %d", word, id))
		case msgBatch:
			out = append(out, fmt.Sprintf("%s..%d", word, id))
		default:
			t.Fatalf("message type %#x", kind)
		}
		b = b[size:]
	}
	return strings.Join(out, ", ")
}

// TestRuns checks that packets which simply go on are answered together, and
// never one that waits among them.
func TestRuns(t *testing.T) {
	batch := func(ids ...uint32) (pkts []Packet) {
		for _, id := range ids {
			pkts = append(pkts, Packet{ID: ID(id)})
		}
		return pkts
	}
	accept := func(v *verdicts, ids ...uint32) {
		for _, id := range ids {
			v.add(&Verdict{ID: ID(id)})
		}
	}
	for name, c := range map[string]struct {
		play func(v *verdicts) string
		want string
	}{
		"all go on": {func(v *verdicts) string {
			v.expect(batch(1, 2, 3))
			accept(v, 1, 2, 3)
			return read(t, v.take())
		}, "accept..3"},
		"one alone": {func(v *verdicts) string {
			v.expect(batch(1))
			accept(v, 1)
			return read(t, v.take())
		}, "accept 1"},
		"ids are missing": {func(v *verdicts) string { // the kernel let these pass
			v.expect(batch(1, 5, 9))
			accept(v, 1, 5, 9)
			return read(t, v.take())
		}, "accept..9"},
		"a drop between": {func(v *verdicts) string {
			v.expect(batch(1, 2, 3, 4, 5))
			accept(v, 1, 2)
			v.add(&Verdict{ID: 3, Drop: true})
			accept(v, 4, 5)
			return read(t, v.take())
		}, "accept..2, drop 3, accept..5"},
		"drops in a row": {func(v *verdicts) string {
			v.expect(batch(1, 2, 3, 4, 5))
			accept(v, 1)
			for id := range ID(3) {
				v.add(&Verdict{ID: id + 2, Drop: true})
			}
			accept(v, 5)
			return read(t, v.take())
		}, "accept 1, drop..4, accept 5"},
		"two queues": {func(v *verdicts) string { // what is held in one is nothing to the other
			v.of[1].queue = 9
			v.expect([]Packet{{ID: 1}, {ID: GSOQueue | 1}, {ID: GSOQueue | 2}, {ID: 2}, {ID: GSOQueue | 3}})
			v.add(&Verdict{ID: GSOQueue | 1, Drop: true})
			v.add(&Verdict{ID: GSOQueue | 2, Drop: true})
			accept(v, 2)
			v.add(&Verdict{ID: GSOQueue | 3, Drop: true})
			return read(t, v.take())
		}, "accept 2, [9] drop..3"},
		"one comes again": {func(v *verdicts) string {
			v.of[1].queue = 9
			v.expect([]Packet{{ID: GSOQueue | 1}, {ID: GSOQueue | 2}})
			v.add(&Verdict{ID: GSOQueue | 1, Again: true})
			v.add(&Verdict{ID: GSOQueue | 2})
			return read(t, v.take())
		}, "[9] to queue 0 with bypass 1, [9] accept 2"},
		"one is held": {func(v *verdicts) string {
			v.expect(batch(1, 2, 3, 4, 5))
			accept(v, 1, 2, 4, 5)
			held := read(t, v.take())
			v.expect(batch(6, 7))
			accept(v, 6, 7)
			later := read(t, v.take())
			accept(v, 3)
			v.expect(batch(8, 9))
			accept(v, 8, 9)
			return held + " | " + later + " | " + read(t, v.take())
		}, "accept..2, accept 4, accept 5 | accept 6, accept 7 | accept 3, accept..9"},
		"a signal and bytes": {func(v *verdicts) string {
			v.expect(batch(1, 2, 3))
			v.add(&Verdict{ID: 1, Signal: 1 << 29})
			v.add(&Verdict{ID: 2, Bytes: []byte("x")})
			accept(v, 3)
			return read(t, v.take())
		}, "repeat 1, accept 2, accept 3"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.play(&verdicts{}); got != c.want {
				t.Errorf("sent %s, want %s", got, c.want)
			}
		})
	}
}

// TestVerdictsAllocateNothing checks it for every kind of answer.
func TestVerdictsAllocateNothing(t *testing.T) {
	pkts := make([]Packet, BatchSize)
	for i := range pkts {
		pkts[i].ID = ID(i)
	}
	bytes := payload()
	var v verdicts
	play := func() {
		v.expect(pkts)
		for i := range pkts {
			o := Verdict{ID: ID(i)}
			switch i % 8 {
			case 3:
				o.Drop = true
			case 5:
				o.Signal = 1 << 27
			case 7:
				o.Bytes = bytes
			}
			v.add(&o)
		}
		v.take()
	}
	play()
	if n := testing.AllocsPerRun(100, play); n != 0 {
		t.Errorf("%v allocations for %d verdicts, want none", n, BatchSize)
	}
}

// TestDecodeAllocatesNothing checks it for reading, which happens in place.
func TestDecodeAllocatesNothing(t *testing.T) {
	msg := queued(7, payload())
	var p Packet
	if !decodePacket(msg, 0, &p) || p.ID != 7 || p.Mark != 9 || !p.GSO || p.Partial {
		t.Fatalf("decoded %+v", p)
	}
	if n := testing.AllocsPerRun(100, func() { decodePacket(msg, 0, &p) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
	if !decodePacket(msg, 9, &p) || p.ID != 7 {
		t.Errorf("a packet of queue 0 got %#x", p.ID)
	}
	binary.BigEndian.PutUint16(msg[nlHeader+2:], 9)
	if !decodePacket(msg, 9, &p) || p.ID != 7|GSOQueue {
		t.Errorf("a packet of the queue for GSO packets got %#x", p.ID)
	}
	for n := range msg { // cut anywhere, it never reads beyond
		decodePacket(slices.Clip(msg[:n]), 0, &p)
	}
}

// queued is a packet as the kernel hands it over.
func queued(id uint32, pkt []byte) []byte {
	b := make([]byte, nlHeader+nfHeader)
	binary.NativeEndian.PutUint16(b[4:], msgPacket)
	attr := func(kind int, data []byte) {
		b = append(appendAttr(b, kind, len(data)), data...)
		for len(b)&3 != 0 {
			b = append(b, 0)
		}
	}
	attr(attrPacketHdr, append(binary.BigEndian.AppendUint32(nil, id), 8, 0, 3))
	attr(attrMark, []byte{0, 0, 0, 9})
	attr(attrSkbInfo, []byte{0, 0, 0, skbGSO})
	attr(attrPayload, pkt)
	return endMessage(b, 0)
}

func BenchmarkDecode(b *testing.B) {
	msg := queued(7, payload())
	var p Packet
	b.ReportAllocs()
	for b.Loop() {
		decodePacket(msg, 0, &p)
	}
}

func BenchmarkVerdict(b *testing.B) {
	pkts := make([]Packet, BatchSize)
	for name, o := range map[string]Verdict{"accept": {}, "drop": {Drop: true}, "signal": {Signal: 1 << 29}} {
		b.Run(name, func(b *testing.B) {
			var v verdicts
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%BatchSize == 0 {
					v.take()
					v.expect(pkts)
				}
				o.ID = 0
				v.add(&o)
			}
		})
	}
}

// payload is a segment with a few bytes.
func payload() []byte {
	f := packet.Fields{
		Src: netip.MustParseAddrPort("10.0.0.1:40000"), Dst: netip.MustParseAddrPort("10.0.0.2:5432"),
		TTL: 64, DF: true, Seq: 1, Ack: 1, Flags: packet.ACK, Window: 1000,
	}
	return f.Append(nil, []byte("payload"))
}
