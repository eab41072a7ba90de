package nfqueue

import (
	"encoding/binary"
	"testing"
)

// FuzzMessage checks that nothing that comes through the queue's socket makes its reader
// panic, and that what it takes for a packet lies within the message.
func FuzzMessage(f *testing.F) {
	packet := appendMessage(nil, msgPacket, 0, 7)
	hdr := appendAttr(packet, attrPacketHdr, 7)
	hdr = append(hdr, 0, 0, 0, 1, 8, 0, 3, 0)
	mark := binary.BigEndian.AppendUint32(appendAttr(hdr, attrMark, 4), 5)
	whole := append(appendAttr(mark, attrPayload, 4), 0x45, 0, 0, 4)
	f.Add(endMessage(whole, 0))
	f.Add(endMessage(hdr, 0))
	f.Add(appendMark(nil, 7, 9))
	f.Add([]byte{36, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 36, 0, 0, 0})
	f.Fuzz(func(t *testing.T, msg []byte) {
		var p Packet
		if decodePacket(msg, 7, &p); len(p.Bytes) > len(msg) {
			t.Errorf("%d bytes of a packet in a message of %d", len(p.Bytes), len(msg))
		}
		decodeMark(msg)
	})
}
