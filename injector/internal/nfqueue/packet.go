package nfqueue

// ID identifies a packet in a Queue: the kernel's number for it and, in the upper half,
// in which of the two netfilter queues of the Queue it is.
type ID uint64

// GSOQueue is set in the ID of a packet in the second netfilter queue, the one for GSO
// packets of local senders, which stand for up to 45 segments each. That queue has
// packet numbers of its own.
const GSOQueue ID = 1 << 32

// InGSO reports whether the packet is in the queue for GSO packets of local senders.
func (id ID) InGSO() bool { return id&GSOQueue != 0 }

// Number is the kernel's number for the packet in its queue.
func (id ID) Number() uint32 { return uint32(id) }

// index is 0 for the first netfilter queue and 1 for the second.
func (id ID) index() int { return int(id >> 32) }

// Packet is a packet in the queue, as the kernel handed it over.
type Packet struct {
	ID       ID
	Hook     uint8  // NF_INET_LOCAL_IN, NF_INET_FORWARD or NF_INET_LOCAL_OUT
	Bytes    []byte // without the payload if no fault needs it
	Mark     uint32
	Priority uint32
	Iface    uint32 // the interface by which it came in or goes out
	Partial  bool   // its TCP checksum is incomplete (NFQA_SKB_CSUMNOTREADY)
	GSO      bool   // it stands for several segments (NFQA_SKB_GSO)

	// Unverified says that no interface has verified the checksums of the packet
	// (NFQA_SKB_CSUM_NOTVERIFIED).
	Unverified bool
}

// ByLoopback reports whether the packet came in, or goes out, by the interface lo. Its index
// is 1 in each network namespace (net/core/dev.c, LOOPBACK_IFINDEX).
func (p *Packet) ByLoopback() bool { return p.Iface == 1 }

// Verdict is the answer to one packet.
type Verdict struct {
	ID       ID
	Drop     bool
	Again    bool   // it must come again as segments: the kernel segments it into the first queue
	Priority uint32 // of the packet, as delivered

	// Signal is bits that are set in the packet's priority, if not 0. The packet then
	// passes once more through the chain that queued it (NF_REPEAT), whose rules see
	// them.
	Signal uint32

	// Tag is bits that are also set in the packet's priority, but without a repeat:
	// later chains see them.
	Tag   uint32
	Bytes []byte // replaces the packet; nil: it is unchanged
}
