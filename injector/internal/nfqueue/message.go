package nfqueue

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Offsets and numbers of linux/netlink.h and linux/netfilter/nfnetlink_queue.h.
const (
	nlHeader  = 16 // struct nlmsghdr
	nfHeader  = 4  // struct nfgenmsg
	nlaHeader = 4  // struct nlattr

	msgPacket  = unix.NFNL_SUBSYS_QUEUE << 8 // NFQNL_MSG_PACKET, 0 in its subsystem
	msgVerdict = msgPacket | 1               // NFQNL_MSG_VERDICT
	msgConfig  = msgPacket | 2               // NFQNL_MSG_CONFIG
	msgBatch   = msgPacket | 3               // NFQNL_MSG_VERDICT_BATCH

	attrPacketHdr  = 1  // NFQA_PACKET_HDR: id be32, hw_protocol be16, hook u8
	attrVerdictHdr = 2  // NFQA_VERDICT_HDR: verdict be32, id be32
	attrMark       = 3  // NFQA_MARK, be32
	attrIndev      = 5  // NFQA_IFINDEX_INDEV, be32
	attrOutdev     = 6  // NFQA_IFINDEX_OUTDEV, be32
	attrPayload    = 10 // NFQA_PAYLOAD
	attrSkbInfo    = 14 // NFQA_SKB_INFO, be32
	attrPriority   = 21 // NFQA_PRIORITY, be32

	nfDrop, nfAccept uint32 = 0, 1
	nfQueue          uint32 = 3 // to the queue whose number is in the upper half
	nfRepeat         uint32 = 4 // through the chain that queued it, once more

	queueBypass = 0x8000 // NF_VERDICT_FLAG_QUEUE_BYPASS: accept, if nobody reads that queue

	skbCsumNotReady    = 1 << 0
	skbGSO             = 1 << 1
	skbCsumNotVerified = 1 << 2
)

// decodeMark reads the kernel's complaint about a mark (see appendMark), which quotes
// its sequence number: struct nlmsgerr. 0: it is something else.
func decodeMark(msg []byte) uint32 {
	const errno, quoted = nlHeader, nlHeader + 4
	if len(msg) < quoted+nlHeader || binary.NativeEndian.Uint16(msg[4:]) != unix.NLMSG_ERROR || binary.NativeEndian.Uint32(msg[errno:]) == 0 {
		return 0
	}
	return binary.NativeEndian.Uint32(msg[quoted+8:])
}

// appendMark appends a verdict on a packet that no queue ever holds, with a sequence
// number: the kernel's complaint about it takes its place behind the packets that
// wait on the socket.
func appendMark(b []byte, number uint16, mark uint32) []byte {
	start := len(b)
	b = appendVerdict(b, number, 0, &Verdict{})
	binary.NativeEndian.PutUint32(b[start+8:], mark)
	return b
}

// appendLength appends a message that changes how many packets the queue of that
// number holds.
func appendLength(b []byte, number uint16, length uint32) []byte {
	start := len(b)
	b = appendMessage(b, msgConfig, unix.NLM_F_REQUEST, number)
	b = binary.BigEndian.AppendUint32(appendAttr(b, attrCfgMaxLen, 4), length)
	return endMessage(b, start)
}

// decodePacket reads one NFQNL_MSG_PACKET. gso is the number of the queue of
// packets that come as their local sender made them, 0 if there is none. It reports false for anything else,
// such as the kernel's complaint about a verdict that came too late.
func decodePacket(msg []byte, gso uint16, p *Packet) bool {
	if len(msg) < nlHeader+nfHeader || binary.NativeEndian.Uint16(msg[4:]) != msgPacket {
		return false
	}
	*p = Packet{}
	known := false
	for b := msg[nlHeader+nfHeader:]; len(b) >= nlaHeader; {
		size := int(binary.NativeEndian.Uint16(b))
		if size < nlaHeader || size > len(b) {
			break
		}
		data := b[nlaHeader:size]
		switch kind := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER); {
		case kind == attrPacketHdr && len(data) >= 7:
			p.ID, p.Hook, known = ID(binary.BigEndian.Uint32(data)), data[6], true
		case kind == attrPayload:
			p.Bytes = data
		case len(data) != 4:
		case kind == attrMark:
			p.Mark = binary.BigEndian.Uint32(data)
		case kind == attrPriority:
			p.Priority = binary.BigEndian.Uint32(data)
		case kind == attrIndev, kind == attrOutdev && p.Iface == 0:
			p.Iface = binary.BigEndian.Uint32(data)
		case kind == attrSkbInfo:
			info := binary.BigEndian.Uint32(data)
			p.Partial, p.GSO, p.Unverified = info&skbCsumNotReady != 0, info&skbGSO != 0, info&skbCsumNotVerified != 0
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	if gso != 0 && binary.BigEndian.Uint16(msg[nlHeader+2:]) == gso {
		p.ID |= GSOQueue
	}
	return known
}

// appendVerdict appends one NFQNL_MSG_VERDICT to the queue with that number. again is
// the number of the queue that a packet goes to if it must come again.
func appendVerdict(b []byte, number, again uint16, v *Verdict) []byte {
	start := len(b)
	what := nfAccept
	switch {
	case v.Again:
		what = uint32(again)<<16 | queueBypass | nfQueue
	case v.Drop:
		what = nfDrop
	case v.Signal != 0:
		what = nfRepeat
	}
	b = appendHead(b, msgVerdict, number, v.ID.Number(), what)
	if v.Signal|v.Tag != 0 {
		b = appendAttr(b, attrPriority, 4)
		b = binary.BigEndian.AppendUint32(b, v.Priority|v.Signal|v.Tag)
	}
	if v.Bytes != nil {
		b = appendAttr(b, attrPayload, len(v.Bytes))
		b = append(b, v.Bytes...)
		for len(b)&3 != 0 {
			b = append(b, 0)
		}
	}
	return endMessage(b, start)
}

// appendUpTo appends one NFQNL_MSG_VERDICT_BATCH: every waiting packet that is not
// newer than id is accepted, or dropped.
func appendUpTo(b []byte, number uint16, id uint32, drop bool) []byte {
	what := nfAccept
	if drop {
		what = nfDrop
	}
	return endMessage(appendHead(b, msgBatch, number, id, what), len(b))
}

func appendHead(b []byte, kind, number uint16, id, what uint32) []byte {
	b = appendMessage(b, kind, unix.NLM_F_REQUEST, number)
	b = appendAttr(b, attrVerdictHdr, 8)
	b = binary.BigEndian.AppendUint32(b, what)
	return binary.BigEndian.AppendUint32(b, id)
}

// appendMessage appends the beginning of a message to the queue of that number.
func appendMessage(b []byte, kind, flags, number uint16) []byte {
	var head [nlHeader]byte
	binary.NativeEndian.PutUint16(head[4:], kind)
	binary.NativeEndian.PutUint16(head[6:], flags)
	b = append(b, head[:]...)
	return append(b, unix.AF_UNSPEC, unix.NFNETLINK_V0, byte(number>>8), byte(number))
}

// endMessage writes the length of the message that began at start.
func endMessage(b []byte, start int) []byte {
	binary.NativeEndian.PutUint32(b[start:], uint32(len(b)-start))
	return b
}

func appendAttr(b []byte, kind, size int) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(nlaHeader+size))
	return binary.NativeEndian.AppendUint16(b, uint16(kind))
}
