package injector

import (
	"encoding/binary"
	"fmt"
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

// TestRuns holds that packets which simply go on are answered together, and
// never one that waits among them.
func TestRuns(t *testing.T) {
	batch := func(ids ...uint32) (pkts []packetIn) {
		for _, id := range ids {
			pkts = append(pkts, packetIn{id: packetID(id)})
		}
		return pkts
	}
	accept := func(v *verdicts, ids ...uint32) {
		for _, id := range ids {
			v.add(&verdictOut{id: packetID(id)})
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
			v.add(&verdictOut{id: 3, drop: true})
			accept(v, 4, 5)
			return read(t, v.take())
		}, "accept..2, drop 3, accept..5"},
		"drops in a row": {func(v *verdicts) string {
			v.expect(batch(1, 2, 3, 4, 5))
			accept(v, 1)
			for id := range packetID(3) {
				v.add(&verdictOut{id: id + 2, drop: true})
			}
			accept(v, 5)
			return read(t, v.take())
		}, "accept 1, drop..4, accept 5"},
		"two queues": {func(v *verdicts) string { // what is held in one is nothing to the other
			v.of[1].queue = 9
			v.expect([]packetIn{{id: 1}, {id: inUncut | 1}, {id: inUncut | 2}, {id: 2}, {id: inUncut | 3}})
			v.add(&verdictOut{id: inUncut | 1, drop: true})
			v.add(&verdictOut{id: inUncut | 2, drop: true})
			accept(v, 2)
			v.add(&verdictOut{id: inUncut | 3, drop: true})
			return read(t, v.take())
		}, "accept 2, [9] drop..3"},
		"one comes again": {func(v *verdicts) string {
			v.of[1].queue = 9
			v.expect([]packetIn{{id: inUncut | 1}, {id: inUncut | 2}})
			v.add(&verdictOut{id: inUncut | 1, again: true})
			v.add(&verdictOut{id: inUncut | 2})
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
			v.add(&verdictOut{id: 1, signal: sigAdmit})
			v.add(&verdictOut{id: 2, bytes: []byte("x")})
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

// TestVerdictsAllocateNothing holds it for every kind of answer.
func TestVerdictsAllocateNothing(t *testing.T) {
	pkts := make([]packetIn, batchSize)
	for i := range pkts {
		pkts[i].id = packetID(i)
	}
	bytes := segment(0, packet.ACK, 1, 1, "payload")
	var v verdicts
	play := func() {
		v.expect(pkts)
		for i := range pkts {
			o := verdictOut{id: packetID(i)}
			switch i % 8 {
			case 3:
				o.drop = true
			case 5:
				o.signal = sigCapture
			case 7:
				o.bytes = bytes
			}
			v.add(&o)
		}
		v.take()
	}
	play()
	if n := testing.AllocsPerRun(100, play); n != 0 {
		t.Errorf("%v allocations for %d verdicts, want none", n, batchSize)
	}
}

// TestDecodeAllocatesNothing holds it for reading, which happens in place.
func TestDecodeAllocatesNothing(t *testing.T) {
	msg := queued(7, segment(0, packet.ACK, 1, 1, "payload"))
	var p packetIn
	if !decodePacket(msg, 0, &p) || p.id != 7 || p.mark != 9 || !p.gso || p.partial {
		t.Fatalf("decoded %+v", p)
	}
	if n := testing.AllocsPerRun(100, func() { decodePacket(msg, 0, &p) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
	if !decodePacket(msg, 9, &p) || p.id != 7 {
		t.Errorf("a packet of queue 0 got %#x", p.id)
	}
	binary.BigEndian.PutUint16(msg[nlHeader+2:], 9)
	if !decodePacket(msg, 9, &p) || p.id != 7|inUncut {
		t.Errorf("a packet of the queue for what comes uncut got %#x", p.id)
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
	msg := queued(7, segment(0, packet.ACK, 1, 1, "payload"))
	var p packetIn
	b.ReportAllocs()
	for b.Loop() {
		decodePacket(msg, 0, &p)
	}
}

func BenchmarkVerdict(b *testing.B) {
	pkts := make([]packetIn, batchSize)
	for name, o := range map[string]verdictOut{"accept": {}, "drop": {drop: true}, "signal": {signal: sigAdmit}} {
		b.Run(name, func(b *testing.B) {
			var v verdicts
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%batchSize == 0 {
					v.take()
					v.expect(pkts)
				}
				o.id = 0
				v.add(&o)
			}
		})
	}
}
