package faults

import "time"

// A Sleeper is a Fault that can be put away while the kernel lets its flow
// pass, so that a million flows that wait cost little. What it knows beyond its
// model must fit into one word.
type Sleeper interface {
	// Sleep returns the state, or false if there is more to remember just now.
	Sleep() (state uint64, ok bool)

	// Resume takes the state up again, in a Fault fresh from [Model.New].
	Resume(state uint64)
}

// Asleep is a chain of one fault that was put away.
type Asleep struct {
	State    uint64
	WakeAt   time.Duration // its alarm, or Never
	Released bool
}

// Sleep puts the chain away: it must not be used any more, but WakeChain makes
// one like it. It reports false, and changes nothing, if that is not possible:
// for more than one fault, or one that is no Sleeper or has more to remember.
func (c *Chain) Sleep() (Asleep, bool) {
	if len(c.links) != 1 {
		return Asleep{}, false
	}
	l := &c.links[0]
	s, ok := l.fault.(Sleeper)
	if !ok {
		return Asleep{}, false
	}
	state, ok := s.Sleep()
	return Asleep{state, l.wakeAt, l.released}, ok
}

// WakeChain makes the chain of the model's fault as it was put away.
func WakeChain(m Model, a Asleep) *Chain {
	f := m.New()
	f.(Sleeper).Resume(a.State)
	return &Chain{links: []link{{fault: f, wakeAt: a.WakeAt, released: a.Released}}}
}

// pack puts a time and a bit into a word.
func pack(d time.Duration, bit bool) uint64 {
	if bit {
		return uint64(d)<<1 | 1
	}
	return uint64(d) << 1
}

func unpack(w uint64) (time.Duration, bool) { return time.Duration(w >> 1), w&1 != 0 }
