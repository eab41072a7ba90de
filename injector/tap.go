package injector

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"golang.org/x/sys/unix"
)

// tap carries copies of packets from a worker to Config.OnPacket without making
// the worker wait, as reporter does with events: the worker writes into two
// rings, one of records and one of bytes, and another goroutine reads. Packets
// that do not fit are lost, and counted.
type tap struct {
	recs  [tapPackets]tapRecord
	bytes []byte // tapBytes of them

	head  uint64        // bytes written so far, gaps at the ring's end included; the worker's own
	freed atomic.Uint64 // bytes given back so far
	write atomic.Uint64
	read  atomic.Uint64
	bell  chan struct{}
	lost  *atomic.Uint64

	start  time.Time    // the moment that the worker's clock counts from
	before map[why]told // the reader's own

	// What the worker's decision is about while it is carried out.
	who   *counters
	notes []faults.Note
}

const (
	tapPackets = 1 << 12
	tapBytes   = 8 << 20
	tapNotes   = 3 // notes kept with a packet: more than one fault leaves on a segment
)

// tapRecord is a packet before it is formatted.
type tapRecord struct {
	at             time.Time
	from, length   int    // where its bytes lie
	end            uint64 // head after it
	fate           Fate
	hook           uint8
	delay          time.Duration
	behind         bool // it is delayed only because an older packet is held
	client, server netip.AddrPort
	rule           int
	nth            uint64
	fault          *counters
	notes          [tapNotes]faults.Note
	noted          int
}

// why is what a fault decided for a connection, and told is the reason it
// gave. Faults give their reason once per connection; the reader remembers it
// for later packets.
type (
	why struct {
		flowKey
		fate Fate
	}
	told struct {
		fault *counters
		notes [tapNotes]faults.Note
		noted int
	}
)

// tapTold bounds how many reasons the reader remembers.
const tapTold = 1 << 14

func newTap(start time.Time, bell chan struct{}, lost *atomic.Uint64) *tap {
	return &tap{bytes: make([]byte, tapBytes), bell: bell, lost: lost, start: start, before: map[why]told{}}
}

// about sets the decision that the following packets result from.
func (t *tap) about(f *entry, who int, notes []faults.Note) {
	t.who, t.notes = nil, notes
	if who >= 0 && who < len(f.links) {
		t.who = f.links[who]
	}
}

// judged records a packet as it came, and the packet that is accepted in its
// place.
func (t *tap) judged(p *nfqueue.Packet, f *entry, now time.Duration, v faults.Verdict, out *faults.Effects, delay time.Duration) {
	r, rewritten := out.Replaced()
	rec := tapRecord{at: t.start.Add(now), hook: p.Hook, delay: delay, behind: out.Hold == 0}
	switch {
	case v == faults.Drop:
		rec.delay = 0
		t.put(f, &rec, Dropped, p.Bytes)
	case rewritten:
		t.put(f, &rec, Rewritten, p.Bytes)
		t.put(f, &rec, Replacement, r.Bytes())
	case delay > 0:
		t.put(f, &rec, Delayed, p.Bytes)
		t.put(f, &rec, Late, p.Bytes)
	default:
		t.put(f, &rec, Passed, p.Bytes)
	}
}

// forged records a forged packet that leaves after the given time.
func (t *tap) forged(f *entry, now, after time.Duration, pkt []byte) {
	rec := tapRecord{at: t.start.Add(now), hook: unix.NF_INET_LOCAL_OUT, delay: after}
	t.put(f, &rec, Forged, pkt)
}

// put copies a packet and its description. Only the worker may call it.
func (t *tap) put(f *entry, about *tapRecord, fate Fate, pkt []byte) {
	w, from, start := t.write.Load(), int(t.head%tapBytes), t.head
	if from+len(pkt) > tapBytes { // a packet is never split: leave a gap
		start += uint64(tapBytes - from)
		from = 0
	}
	if w-t.read.Load() == tapPackets || start+uint64(len(pkt))-t.freed.Load() > tapBytes {
		t.lost.Add(1)
		return
	}
	t.head = start + uint64(copy(t.bytes[from:], pkt))
	rec := &t.recs[w%tapPackets]
	*rec = *about
	rec.from, rec.length, rec.end, rec.fate = from, len(pkt), t.head, fate
	rec.client, rec.server, rec.rule, rec.nth = f.Client, f.Server, f.rule, f.nth
	rec.fault = t.who
	rec.noted = copy(rec.notes[:], t.notes)
	t.write.Store(w + 1)
	select {
	case t.bell <- struct{}{}:
	default: // the reader has been woken already
	}
}

// oldest returns the time of the oldest packet in the ring.
func (t *tap) oldest() (time.Time, bool) {
	n := t.read.Load()
	if n == t.write.Load() {
		return time.Time{}, false
	}
	return t.recs[n%tapPackets].at, true
}

// take removes the oldest packet and hands it to tell.
func (t *tap) take(tell func(Packet)) {
	n := t.read.Load()
	rec := &t.recs[n%tapPackets]
	p := rec.packet(t.bytes)
	t.recall(rec, &p)
	tell(p)
	t.freed.Store(rec.end)
	t.read.Store(n + 1)
}

// recall gives a packet the reason that its fault gave for an earlier one of
// the connection, if it has none of its own. The reason's direction is adapted
// to that of the packet.
func (t *tap) recall(rec *tapRecord, p *Packet) {
	key := why{flowKey{rec.client, rec.server}, rec.fate}
	switch {
	case rec.fate == Passed || rec.fate == Forged || rec.behind && (rec.fate == Delayed || rec.fate == Late):
	case rec.noted > 0:
		if len(t.before) >= tapTold {
			clear(t.before)
		}
		t.before[key] = told{rec.fault, rec.notes, rec.noted}
	default:
		b, known := t.before[key]
		if !known || rec.fault != nil && rec.fault != b.fault {
			return
		}
		if b.fault != nil {
			p.Fault = b.fault.name
		}
		p.Notes = b.notes[:b.noted]
		for i := range p.Notes {
			if n := &p.Notes[i]; n.To != faults.Both && !forges(n.Action) {
				n.To = faults.Server
				if p.FromServer {
					n.To = faults.Client
				}
			}
		}
	}
}

// forges reports whether an action sends a packet made by the fault, rather
// than changing the one that came.
func forges(a faults.Action) bool {
	return a == faults.SentRST || a == faults.SentFIN || a == faults.SentICMP
}

func (rec *tapRecord) packet(ring []byte) Packet {
	p := Packet{
		Time: rec.at, Bytes: ring[rec.from : rec.from+rec.length], Length: rec.length, Fate: rec.fate, Delay: rec.delay,
		Flow: Flow{Client: rec.client.String(), Server: rec.server.String()},
		Rule: rec.rule, Ordinal: rec.nth, Notes: rec.notes[:rec.noted], Behind: rec.behind && rec.delay > 0,
	}
	switch rec.hook {
	case unix.NF_INET_LOCAL_IN:
		p.Hook = Input
	case unix.NF_INET_FORWARD:
		p.Hook = Forward
	default:
		p.Hook = Output
	}
	if rec.fault != nil {
		p.Fault = rec.fault.name
	}
	if rec.fate > Rewritten {
		p.Time = p.Time.Add(rec.delay)
	}
	if s, err := packet.Parse(p.Bytes); err == nil {
		p.FromServer = s.SrcAddrPort() == rec.server
		p.Length = max(p.Length, s.HeaderLen()+s.PayloadLen())
	} else {
		p.FromServer = !addressed(p.Bytes, rec.server.Addr())
	}
	return p
}

// addressed reports whether a packet that is no segment, an ICMP error, goes to
// the address.
func addressed(pkt []byte, to netip.Addr) bool {
	switch {
	case len(pkt) >= 20 && pkt[0]>>4 == 4:
		return netip.AddrFrom4([4]byte(pkt[16:20])) == to
	case len(pkt) >= 40:
		return netip.AddrFrom16([16]byte(pkt[24:40])) == to
	}
	return false
}
