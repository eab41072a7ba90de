package injector

import (
	"hash/maphash"
	"math"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/heap"
	"github.com/faultctl/faultctl/injector/internal/lru"
)

// parkedFlows holds the flows that the kernel accepts without asking, each as a
// record of fixed size without pointers: a million of them take 240 MB that the
// garbage collector does not scan. It grows by one chunk of records at a time, and
// its index by one bucket at a time (linear hashing), so no flow waits until
// others have been moved. It belongs to one worker.
type parkedFlows struct {
	chunks   [][]parkedFlow
	used     uint32 // records ever taken; 0 is never used
	freed    uint32 // the list of those given back, by next
	n        int    // records in use
	capacity capacity

	seed    maphash.Seed
	heads   [][]uint32 // buckets, each the start of a list by next
	buckets uint32
	level   uint32 // a power of two: bucket i < buckets-level is split already

	seen   lru.List[uint32] // by when they were last seen
	alarms heap.Heap[alarm, *alarm]
	swept  int // where sweep looked last
}

const (
	parkedAChunk  = 512 // of 240 bytes: whole pages, so that none is wasted
	bucketsAChunk = 1024
)

// parkedFlow is a parked flow.
type parkedFlow struct {
	half       [2]faults.Half
	state      uint64 // of its fault, see faults.Parked
	wakeAt     time.Duration
	nth        uint64
	born       time.Duration
	ends       [36]byte // client, server: address and port, IPv4 as IPv6 has it
	rtt        uint32   // microseconds
	segments   uint32
	askedAt    uint32
	last       uint32 // when it was last seen, in centiseconds
	mark       [2]uint32
	iface      uint32
	next       uint32 // the list of its bucket, or of free records
	links      lru.Links[uint32]
	rule       uint16
	attributes attributes
}

// attributes are the flags of a parked flow.
type attributes uint16

const (
	isChosen attributes = 1 << iota
	isAsked             // of a flow not chosen: nth counts within rule
	isV4
	isMidstream
	isOpenBefore
	isReleased
	isFired
	isMarked
	isReplyMarked
	chainReleased
	wasChosen // with isAsked: by the rule, before the run was paused
	others    // of a flow that was chosen, see entry.others
	isSpared
)

func (a *attributes) set(bit attributes, on bool) {
	if on {
		*a |= bit
	}
}

func (a attributes) has(bit attributes) bool { return a&bit != 0 }

func newParkedFlows() *parkedFlows {
	d := &parkedFlows{
		seed: maphash.MakeSeed(), buckets: 1, level: 1, heads: [][]uint32{make([]uint32, bucketsAChunk)}, capacity: parkedRoom(1),
	}
	d.seen = lru.New(func(i uint32) *lru.Links[uint32] { return &d.at(i).links })
	return d
}

func (d *parkedFlows) at(i uint32) *parkedFlow { return &d.chunks[i/parkedAChunk][i%parkedAChunk] }

func (d *parkedFlows) head(b uint32) *uint32 { return &d.heads[b/bucketsAChunk][b%bucketsAChunk] }

func ends(client, server netip.AddrPort) (b [36]byte) {
	c, s := client.Addr().As16(), server.Addr().As16()
	copy(b[:], c[:])
	b[16], b[17] = byte(client.Port()>>8), byte(client.Port())
	copy(b[18:], s[:])
	b[34], b[35] = byte(server.Port()>>8), byte(server.Port())
	return b
}

func (r *parkedFlow) addrs() (client, server netip.AddrPort) {
	end := func(b []byte) netip.AddrPort {
		a := netip.AddrFrom16([16]byte(b))
		if r.attributes.has(isV4) {
			a = a.Unmap()
		}
		return netip.AddrPortFrom(a, uint16(b[16])<<8|uint16(b[17]))
	}
	return end(r.ends[:18]), end(r.ends[18:])
}

// bucket returns the bucket of a flow with these ends.
func (d *parkedFlows) bucket(ends *[36]byte) uint32 {
	h := uint32(maphash.Bytes(d.seed, ends[:]))
	b := h & (d.level - 1)
	if b < d.buckets-d.level {
		b = h & (2*d.level - 1)
	}
	return b
}

// find returns the record of a flow, or 0.
func (d *parkedFlows) find(client, server netip.AddrPort) uint32 {
	if d.n == 0 {
		return 0
	}
	key := ends(client, server)
	for i := *d.head(d.bucket(&key)); i != 0; i = d.at(i).next {
		if d.at(i).ends == key {
			return i
		}
	}
	return 0
}

// take returns a new record, already in its bucket and newest in the list.
func (d *parkedFlows) take(client, server netip.AddrPort) uint32 {
	i := d.freed
	if i != 0 {
		d.freed = d.at(i).next
	} else {
		d.used++
		i = d.used
		if int(i/parkedAChunk) == len(d.chunks) {
			d.chunks = append(d.chunks, make([]parkedFlow, parkedAChunk))
		}
	}
	d.n++
	if uint32(d.n) > d.buckets {
		d.split()
	}
	r := d.at(i)
	*r = parkedFlow{ends: ends(client, server)}
	head := d.head(d.bucket(&r.ends))
	r.next, *head = *head, i
	d.seen.Add(i)
	return i
}

// split adds a bucket and moves the records that belong there into it.
func (d *parkedFlows) split() {
	from := d.buckets - d.level
	if int(d.buckets/bucketsAChunk) == len(d.heads) {
		d.heads = append(d.heads, make([]uint32, bucketsAChunk))
	}
	d.buckets++
	list := *d.head(from)
	*d.head(from) = 0
	if d.buckets == 2*d.level {
		d.level *= 2
	}
	for list != 0 {
		r, i := d.at(list), list
		list = r.next
		head := d.head(d.bucket(&r.ends))
		r.next, *head = *head, i
	}
}

// free removes a record.
func (d *parkedFlows) free(i uint32) {
	r := d.at(i)
	for p := d.head(d.bucket(&r.ends)); *p != 0; p = &d.at(*p).next {
		if *p == i {
			*p = r.next
			break
		}
	}
	d.seen.Remove(i)
	r.wakeAt, r.next, d.freed = faults.Never, d.freed, i
	d.n--
}

// park stores a flow as a record. Its chain, if it has one, must be parked
// already.
func (d *parkedFlows) park(e *entry, asleep faults.Parked) {
	i := d.take(e.Client, e.Server)
	r := d.at(i)
	r.half, r.born, r.segments = e.Half, e.Born, e.Segments
	r.rtt = uint32(min((e.RTT+time.Microsecond-1)/time.Microsecond, math.MaxUint32))
	r.state, r.wakeAt = asleep.State, asleep.WakeAt
	r.nth, r.rule, r.askedAt = e.nth, uint16(e.rule), e.askedAt
	if e.chain == nil && len(e.asked) > 0 {
		r.nth, r.rule = e.asked[0].nth, uint16(e.asked[0].rule)
	}
	r.mark, r.iface, r.last = e.mark, e.iface, centiseconds(e.last)
	a := &r.attributes
	a.set(isChosen, e.chain != nil)
	a.set(isAsked, e.chain == nil && len(e.asked) > 0)
	a.set(isV4, e.Client.Addr().Is4())
	a.set(isMidstream, e.Midstream)
	a.set(isOpenBefore, e.openBefore)
	a.set(isReleased, e.released)
	a.set(isFired, e.fired != 0)
	a.set(isMarked, e.marked[faults.Original])
	a.set(isReplyMarked, e.marked[faults.Reply])
	a.set(chainReleased, asleep.Released)
	a.set(others, e.others)
	a.set(isSpared, e.spared)
	if e.chain != nil && asleep.WakeAt != faults.Never {
		d.alarms.Push(alarm{milliseconds(asleep.WakeAt), i})
		d.sweep()
	}
}

// fewAlarms is how many stale alarms are tolerated without a sweep.
const fewAlarms = 4096

// sweepBatch is how many alarms are looked at for each that is added.
const sweepBatch = 4

// sweep checks a few alarms if there are many more alarms than records, and
// removes stale ones: with short connections and alarms far in the future,
// nearly all are stale.
func (d *parkedFlows) sweep() {
	for range sweepBatch {
		if d.alarms.Len() <= 2*d.n+fewAlarms {
			return
		}
		d.swept = (d.swept + 1) % d.alarms.Len()
		if a := d.alarms.At(d.swept); a.at != milliseconds(d.at(a.flow).wakeAt) {
			d.alarms.Remove(d.swept)
		}
	}
}

// unpark turns a record back into a flow and frees the record. The faults of the flow
// get the current settings of their rules.
func (d *parkedFlows) unpark(i uint32, rules []*ruleState, seed uint64) *entry {
	r := d.at(i)
	a := r.attributes
	e := &entry{
		timer: faults.Never, askedAt: r.askedAt, mark: r.mark, iface: r.iface,
		openBefore: a.has(isOpenBefore), others: a.has(others), released: a.has(isReleased), spared: a.has(isSpared),
		marked: [2]bool{a.has(isMarked), a.has(isReplyMarked)},
	}
	e.Client, e.Server = r.addrs()
	e.Half, e.Born, e.Segments, e.Midstream = r.half, r.born, r.segments, a.has(isMidstream)
	e.RTT = time.Duration(r.rtt) * time.Microsecond
	if a.has(isFired) {
		e.fired = 1
	}
	switch {
	case a.has(isChosen):
		rule := rules[r.rule]
		e.rule, e.nth, e.links = int(r.rule), r.nth, rule.faults
		e.pcg = pcg(seed, e.rule, e.nth, 1)
		e.rng = rand.New(e.pcg)
		e.chain = faults.UnparkChain(rule.settings.Load().instances[0], faults.Parked{State: r.state, WakeAt: r.wakeAt, Released: a.has(chainReleased)})
	case a.has(isAsked):
		if e.asked = []ordinal{{rule: int(r.rule), nth: r.nth}}; a.has(wasChosen) {
			e.asked = chosenBy(int(r.rule), r.nth, a.has(others), len(rules))
		}
	}
	d.free(i)
	return e
}

// nextAlarm returns when the earliest alarm is due, and false if there is none.
func (d *parkedFlows) nextAlarm() (time.Duration, bool) {
	if d.alarms.Len() == 0 {
		return 0, false
	}
	return time.Duration(d.alarms.At(0).at) * time.Millisecond, true
}

func centiseconds(d time.Duration) uint32 { return uint32(d / (10 * time.Millisecond)) }

// milliseconds is d in milliseconds, rounded up.
func milliseconds(d time.Duration) uint32 {
	n := d / time.Millisecond
	if d%time.Millisecond != 0 {
		n++
	}
	return uint32(min(n, math.MaxUint32))
}

// alarm is when a record wakes, in whole milliseconds and not before that time. An
// alarm is stale if its record was freed or its time was put off.
type alarm struct{ at, flow uint32 }

// Before has the earliest first.
func (a *alarm) Before(o *alarm) bool { return a.at < o.at }
