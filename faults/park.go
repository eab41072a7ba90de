package faults

import "time"

// A Parker is a Fault that can be parked while the kernel lets its flow pass:
// what it knows beyond its model fits into one word, so that a million flows
// that wait cost little.
type Parker interface {
	// Park returns the state, or false if there is more to remember just now.
	Park() (state uint64, ok bool)

	// Unpark takes the state up again, in a Fault fresh from the same
	// [Instance].
	Unpark(state uint64)
}

// Parked is a chain of one fault that was parked.
type Parked struct {
	State    uint64
	WakeAt   time.Duration // its alarm, or Never
	Released bool
}

// Park parks the chain: it must not be used any more, but UnparkChain makes one
// like it. It reports false, and changes nothing, if that is not possible: for
// more than one fault, or one that is no Parker or has more to remember.
func (c *Chain) Park() (Parked, bool) {
	if len(c.links) != 1 {
		return Parked{}, false
	}
	l := &c.links[0]
	p, ok := l.fault.(Parker)
	if !ok {
		return Parked{}, false
	}
	state, ok := p.Park()
	return Parked{state, l.wakeAt, l.released}, ok
}

// UnparkChain makes a chain as it was parked, of a fault of the same instance.
func UnparkChain(i Instance, p Parked) *Chain {
	f := i.New()
	f.(Parker).Unpark(p.State)
	return &Chain{links: []link{{fault: f, wakeAt: p.WakeAt, released: p.Released}}}
}

// pack puts a time and a bit into a word.
func pack(d time.Duration, bit bool) uint64 {
	if bit {
		return uint64(d)<<1 | 1
	}
	return uint64(d) << 1
}

func unpack(w uint64) (time.Duration, bool) { return time.Duration(w >> 1), w&1 != 0 }
