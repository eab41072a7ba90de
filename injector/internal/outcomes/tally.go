package outcomes

import (
	"sync"

	"github.com/faultctl/faultctl/faults/outcome"
)

// Tally sums up the outcomes of one fault. Any goroutine may use it. Its lock is taken once
// or twice in the life of a connection.
type Tally struct {
	mu  sync.Mutex
	sum outcome.Tally
}

// Sum returns the sums as they are now.
func (t *Tally) Sum() outcome.Tally {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sum
}

func (t *Tally) add(o outcome.Outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sum.Add(o)
}

func (t *Tally) addLost(again bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sum.AnswersLost++
	if again {
		t.sum.SentAgain++
	}
}

// addUntouched counts a connection that the fault did not strike.
func (t *Tally) addUntouched(unconnected, encrypted bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if unconnected {
		t.sum.Unconnected++
	}
	if encrypted {
		t.sum.Encrypted++
	}
}

func (t *Tally) addPrevented(p outcome.Prevention) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sum.Prevented = t.sum.Prevented.Longer(p)
}
