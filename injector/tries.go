package injector

import (
	"sync/atomic"
	"time"
)

// tryWindow is how long after the SYN over one address family a SYN over the other one
// may belong to the same try. A client with Happy Eyeballs waits 250 ms (RFC 8305
// section 5; curl 200 ms, Go 300 ms), or less if the first address refuses it.
const tryWindow = 400 * time.Millisecond

// tries are the latest tries of local programs to reach a service: a connection over
// one family, which a connection over the other one to the same port may join. Both are
// one try of the application and draw the same lot, unless the first had succeeded
// before the second began. Otherwise a fault that strikes every second connection would
// strike one of them and leave the other, and Happy Eyeballs would look like a retry.
//
// Its methods never block, and all workers may use it at the same time. If there are
// more tries at once than there is room for, the older ones cannot be joined.
type tries struct{ slots [8]atomic.Uint64 }

// A slot is, from the highest bit: whether it is taken, the family, the port, the time
// in units of 16 ms, the low bits of the ordinal.
const (
	tryTaken   = 1 << 63
	tryV6      = 1 << 62
	tryPort    = 46 // 16 bits
	tryTime    = 24 // 22 bits, 19 hours
	tryTimes   = 1<<22 - 1
	tryOrdinal = 1<<24 - 1
	tryUnit    = 16 * time.Millisecond
)

// begin notes a try: the SYN of the connection with that ordinal.
func (t *tries) begin(now time.Duration, port uint16, v6 bool, nth uint64) {
	s := uint64(tryTaken) | uint64(port)<<tryPort | (uint64(now/tryUnit)&tryTimes)<<tryTime | nth&tryOrdinal
	if v6 {
		s |= tryV6
	}
	t.slots[nth%uint64(len(t.slots))].Store(s)
}

// end notes that the connection with that ordinal is open for its client: the try has
// succeeded.
func (t *tries) end(nth uint64) {
	slot := &t.slots[nth%uint64(len(t.slots))]
	if s := slot.Load(); s&tryTaken != 0 && s&tryOrdinal == nth&tryOrdinal {
		slot.CompareAndSwap(s, 0)
	}
}

// join returns the ordinal of the oldest try that a SYN over that family to that port
// belongs to, and false if it begins a new one. next is the next ordinal to be given. A
// try is joined once.
func (t *tries) join(now time.Duration, port uint16, v6 bool, next uint64) (uint64, bool) {
	for {
		oldest, was, best := -1, uint64(0), uint64(0)
		for i := range t.slots {
			s := t.slots[i].Load()
			age := (uint64(now/tryUnit) - s>>tryTime) & tryTimes
			if s&tryTaken == 0 || uint16(s>>tryPort) != port || s&tryV6 != 0 == v6 || age > uint64(tryWindow/tryUnit) {
				continue
			}
			nth := next - uint64(int64((next-s)<<40)>>40) // other workers may have given ordinals since
			if oldest < 0 || nth < best {
				oldest, was, best = i, s, nth
			}
		}
		if oldest < 0 {
			return 0, false
		}
		if t.slots[oldest].CompareAndSwap(was, 0) {
			return best, true
		}
	}
}
