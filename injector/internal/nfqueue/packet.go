package nfqueue

// ID names a packet in the queue: the kernel's number for it and, in the upper half,
// in which of the two netfilter queues it waits that a Queue may have.
type ID uint64

// GSOQueue is set in the ID of a packet that waits in the second netfilter queue, the
// one for packets of local senders as their TCP made them: they stand for up to 45
// segments each (GSO). It has numbers of its own.
const GSOQueue ID = 1 << 32

// InGSO reports whether the packet waits in the queue for what local senders send as
// they made it.
func (id ID) InGSO() bool { return id&GSOQueue != 0 }

// Number is the kernel's number for the packet in its queue.
func (id ID) Number() uint32 { return uint32(id) }

// index is 0 for the first netfilter queue and 1 for the second.
func (id ID) index() int { return int(id >> 32) }

// Packet is a packet in the queue, as the kernel handed it over.
type Packet struct {
	ID       ID
	Hook     uint8  // NF_INET_LOCAL_IN, NF_INET_FORWARD or NF_INET_LOCAL_OUT
	Bytes    []byte // cut off behind the headers if no fault needs more
	Mark     uint32
	Priority uint32
	Iface    uint32 // the interface it came in by, or goes out by
	Partial  bool   // its TCP checksum is not finished (NFQA_SKB_CSUMNOTREADY)
	GSO      bool   // it stands for several segments (NFQA_SKB_GSO)
}

// ByLoopback reports whether the packet came in, or goes out, by the interface lo. Its index
// is 1 in each network namespace (net/core/dev.c, LOOPBACK_IFINDEX).
func (p *Packet) ByLoopback() bool { return p.Iface == 1 }

// Verdict is the answer to one packet.
type Verdict struct {
	ID       ID
	Drop     bool
	Again    bool   // it is to come again, as segments: the first queue gets what the kernel makes of it
	Priority uint32 // of the packet, as delivered

	// Signal is bits that are set in the packet's priority, if there are any. The
	// packet then goes once more through the chain that queued it (NF_REPEAT), whose
	// rules see them.
	Signal uint32

	// Tag is bits that are set in the packet's priority as well, without that: chains
	// further on see them.
	Tag   uint32
	Bytes []byte // what the packet goes on as; nil: as it was
}
