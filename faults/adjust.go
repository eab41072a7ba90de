package faults

import "sync/atomic"

// An Adjuster is a Fault whose settings can change while its flow goes on.
type Adjuster interface {
	// Adjust takes over the settings of fresh, a new fault of the same kind that has
	// judged nothing, and with them whatever the flows of its rule share: the next
	// segment is judged by them. What the fault knows of its flow it keeps as far as
	// it makes sense with the new settings; an alarm that is set stays. It is called
	// between two events of the flow, by the goroutine that tells of them, perhaps
	// with the settings that the fault has already.
	Adjust(fresh Fault)
}

// Adjust has the fault of that ordinal take over the settings of fresh, see [Adjuster].
// It does nothing if the fault is no Adjuster.
func (c *Chain) Adjust(i int, fresh Fault) {
	if a, ok := c.links[i].fault.(Adjuster); ok {
		a.Adjust(fresh)
	}
}

// raise makes a word v if it is less, whoever else does so at the same time.
func raise(word *atomic.Int64, v int64) {
	for {
		is := word.Load()
		if is >= v || word.CompareAndSwap(is, v) {
			return
		}
	}
}
