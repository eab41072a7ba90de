package explain

import (
	"net/netip"
	"slices"
	"time"

	"github.com/faultctl/faultctl/explain/wire"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/clue"
	"github.com/faultctl/faultctl/faults/packet"
)

// Fate is what became of a packet in a capture that faultctl wrote of its own run.
type Fate uint8

// The fates. The zero value is that of packets in any other capture.
const (
	Seen     Fate = iota // it was on the wire
	Withheld             // it came, and did not go on
	Put                  // faultctl sent it
)

// Packet is a packet of a capture.
type Packet struct {
	At    time.Time
	Frame int // its number in the capture, from 1
	packet.Segment
	Iface int // which interface of the capture saw it
	Fate  Fate
	Cut   bool   // the capture holds less than the TCP header
	ICMP  uint16 // type and code of an ICMP error that quotes Segment; 0: it is no error
	TTL   uint8  // of the ICMP error
}

// Finding is what happened to one connection.
type Finding struct {
	Client, Server netip.AddrPort
	At             time.Time
	Facts          wire.Facts
	Verdict        Verdict

	// What the host knows beyond the packets; only live, and only of its own ends.
	Reason                       string // the kernel's word for why it sent the RST
	ClientProcess, ServerProcess string // which held the socket, or closed it
}

// Limits of what is remembered at once. Connections beyond it are judged by what
// was seen so far, the one that was silent the longest first.
const (
	mostConns = 100_000
	mostHosts = 20_000
)

// linger is how long after a connection's end its last segments may come.
const linger = 60 * time.Second // TIME-WAIT of Linux

// Table sorts packets into connections and judges each. The zero Table is not
// usable: see [New]. It is used by one goroutine.
type Table struct {
	Linger time.Duration // how long after its end a connection is judged

	start  time.Time
	now    time.Duration
	conns  map[ends]*entry
	oldest *entry // a list by the time of the last segment
	newest *entry
	free   *entry // a list of entries that can be used again, and its length
	spare  int
	hosts  map[netip.AddrPort]*host
	stamps map[netip.Addr]stamp
	found  func(Finding)
	Counts Counts
}

// Counts says what a capture had.
type Counts struct {
	Packets     int // TCP segments and ICMP errors about them
	Connections int
	InOrder     int // connections that were closed in order, or are open and in use
	Evicted     int // connections that were judged early, because there were too many at once
}

type ends struct{ a, b netip.AddrPort }

type entry struct {
	key        ends
	number     int // from 1
	conn       wire.Conn
	prev, next *entry
}

// host is what is known of a service's address.
type host struct {
	ttl    uint8
	answer [2]struct { // its last answers to two different connections, the latest one first
		to int // the number of the connection; 0: there is none
		at time.Duration
	}
}

// sent notes a segment that it sent to a connection.
func (h *host) sent(to int, at time.Duration) {
	if h.answer[0].to != to {
		h.answer[1] = h.answer[0]
	}
	h.answer[0].to, h.answer[0].at = to, at
}

// others returns when it last answered another connection; 0: it did not.
func (h *host) others(than int) time.Duration {
	for _, a := range h.answer {
		if a.to != 0 && a.to != than {
			return a.at
		}
	}
	return 0
}

// stamp is the newest timestamp of a SYN from an address.
type stamp struct {
	val uint32
	at  time.Duration
}

// New returns a Table that hands over what it finds, in no particular order.
func New(found func(Finding)) *Table {
	return &Table{Linger: linger, conns: map[ends]*entry{}, hosts: map[netip.AddrPort]*host{}, stamps: map[netip.Addr]stamp{}, found: found}
}

// Add takes a packet. If their times decrease, that of the one before is taken.
func (t *Table) Add(p Packet) {
	if t.start.IsZero() {
		t.start = p.At
	}
	t.now = max(t.now, p.At.Sub(t.start))
	t.Counts.Packets++
	src, dst := p.SrcAddrPort(), p.DstAddrPort()
	flags := p.Flags()
	opens := flags.Has(packet.SYN) && !flags.Any(packet.ACK|packet.RST)
	e, dir := t.find(src, dst)
	if e != nil && opens && p.ICMP == 0 && dir == faults.Original && t.again(e, p.Segment) {
		t.end(e)
		e = nil
	}
	if e == nil {
		if p.ICMP != 0 && !opens {
			return // about a connection of which nothing was seen
		}
		e, dir = t.begin(src, dst, p.Segment)
	}
	t.touch(e)
	if toClient := (dir == faults.Reply) != (p.ICMP != 0); p.Fate == Withheld && toClient || p.Fate == Put && !toClient {
		return // a capture at the client would not have it
	}
	if p.ICMP != 0 {
		e.conn.AddICMP(t.now, p.Frame, dir, p.ICMP, p.TTL)
		return
	}
	if opens && !p.Cut {
		t.stamped(e, p.Segment)
	}
	e.conn.Add(wire.Frame{At: t.now, Number: p.Frame, Iface: p.Iface, Cut: p.Cut}, dir, p.Segment)
	t.answers(e, dir, p.Segment)
	t.sweep()
}

// Told notes what the kernel of a host says of the RST that it sends from local to
// remote. It reports false if no such connection is known.
func (t *Table) Told(local, remote netip.AddrPort, says clue.Clue) bool {
	e, dir := t.find(local, remote)
	if e != nil {
		e.conn.Told(dir, says)
	}
	return e != nil
}

// again reports whether a SYN begins another connection between the same ports.
func (t *Table) again(e *entry, s packet.Segment) bool {
	return e.conn.Closed() || e.conn.Began() && t.now-e.conn.Last() > linger && e.conn.ISN() != s.Seq()
}

func (t *Table) find(src, dst netip.AddrPort) (*entry, faults.Direction) {
	if e := t.conns[ends{src, dst}]; e != nil {
		return e, faults.Original
	}
	return t.conns[ends{dst, src}], faults.Reply
}

// begin makes a connection. Who is its client is told by its SYN, or guessed:
// a service's port is the lower one.
func (t *Table) begin(src, dst netip.AddrPort, s packet.Segment) (*entry, faults.Direction) {
	dir := faults.Original
	switch flags := s.Flags(); {
	case flags.Has(packet.SYN | packet.ACK):
		dir = faults.Reply
	case flags.Has(packet.SYN):
	case src.Port() < dst.Port():
		dir = faults.Reply
	}
	key := ends{src, dst}
	if dir == faults.Reply {
		key = ends{dst, src}
	}
	if len(t.conns) >= mostConns {
		t.Counts.Evicted++
		t.end(t.oldest)
	}
	e := t.free
	if e == nil {
		e = new(entry)
	} else {
		t.free, e.next = e.next, nil
		t.spare--
	}
	e.key = key
	t.conns[key] = e
	t.Counts.Connections++
	e.number = t.Counts.Connections
	return e, dir
}

// touch moves a connection to the end of the list.
func (t *Table) touch(e *entry) {
	if t.newest == e {
		return
	}
	t.unlink(e)
	e.prev = t.newest
	if t.newest != nil {
		t.newest.next = e
	}
	t.newest = e
	if t.oldest == nil {
		t.oldest = e
	}
}

func (t *Table) unlink(e *entry) {
	if e.prev != nil {
		e.prev.next = e.next
	} else if t.oldest == e {
		t.oldest = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else if t.newest == e {
		t.newest = e.prev
	}
	e.prev, e.next = nil, nil
}

// Sweep judges connections that ended some time ago. The time is that of the
// packets: a capture's, or now.
func (t *Table) Sweep(at time.Time) {
	if !t.start.IsZero() {
		t.now = max(t.now, at.Sub(t.start))
	}
	const most = 10_000 // at once
	for range min(len(t.conns), most) {
		if !t.sweep() {
			return
		}
	}
}

// sweep looks at the connection that was silent the longest, and reports whether
// to look at another one.
func (t *Table) sweep() bool {
	e := t.oldest
	if e == nil || t.now-e.conn.Last() < t.Linger {
		return false
	}
	if e.conn.Closed() {
		t.end(e)
	} else {
		t.touch(e) // it may be idle: ask again later
	}
	return true
}

// stamped compares the SYN's timestamp with an earlier one from its address.
func (t *Table) stamped(e *entry, s packet.Segment) {
	val, _, ok := s.Timestamps()
	if !ok {
		return
	}
	const remembered = 60 * time.Second // TCP_PAWS_MSL
	last, known := t.stamps[s.Src()]
	older := known && t.now-last.at < remembered && int32(val-last.val) < 0
	switch {
	case older:
		e.conn.OldTimestamp()
	case len(t.stamps) < mostHosts || known:
		t.stamps[s.Src()] = stamp{val, t.now}
	}
}

// answers notes what a service's address sends.
func (t *Table) answers(e *entry, dir faults.Direction, s packet.Segment) {
	if dir != faults.Reply || s.Flags().Has(packet.RST) {
		return
	}
	h := t.hosts[e.key.b]
	if h == nil {
		if len(t.hosts) >= mostHosts {
			return
		}
		h = &host{}
		t.hosts[e.key.b] = h
	}
	h.ttl = s.TTL()
	h.sent(e.number, t.now)
}

// end judges a connection and forgets it.
func (t *Table) end(e *entry) {
	defer t.release(e)
	t.unlink(e)
	delete(t.conns, e.key)
	var about wire.Host
	if h := t.hosts[e.key.b]; h != nil {
		about.TTL = h.ttl
		about.Live = h.others(e.number) > e.conn.Tried()
	}
	f := e.conn.End(t.now, about)
	if f == nil {
		t.Counts.InOrder++
		return
	}
	v := Judge(f)
	if v.Certainty == Unknown && f.Yes&clue.Of(clue.Reset, clue.Silence, clue.Unreachable) == 0 {
		t.Counts.InOrder++
		return
	}
	t.found(Finding{Client: e.key.a, Server: e.key.b, At: t.start.Add(f.At), Facts: *f, Verdict: v})
}

// release keeps an entry for the next connection.
func (t *Table) release(e *entry) {
	const most = 1 << 14
	if t.spare == most {
		return
	}
	e.conn.Forget()
	e.next, t.free = t.free, e
	t.spare++
}

// End judges all connections that are left: the capture ends at that time, or
// with its last packet if it is zero. The Table is empty afterwards.
func (t *Table) End(at time.Time) {
	if !at.IsZero() && !t.start.IsZero() {
		t.now = max(t.now, at.Sub(t.start))
	}
	for t.oldest != nil {
		t.end(t.oldest)
	}
}

// Sort puts findings into the order of their time.
func Sort(fs []Finding) {
	slices.SortStableFunc(fs, func(a, b Finding) int { return a.At.Compare(b.At) })
}
