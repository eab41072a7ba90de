package experiment

import (
	"sync"

	"github.com/faultctl/faultctl/injector"
)

// maxTold limits how many actions of faults a run remembers to have told.
const maxTold = 1 << 16

// firedOnce remembers which actions of faults were told, so that each is told once
// for a connection and a reason. The engine has one for each segment: a download
// whose retransmissions are dropped would fill the screen with the same line.
type firedOnce struct {
	mu   sync.Mutex
	told map[action]struct{}
}

// action is what a fault did to a connection, and why.
type action struct {
	rule    int
	ordinal uint64
	flow    injector.Flow
	fault   string
	what    string
	to      string
	reason  string
}

// again reports whether an event of a fault's action tells what another one has told.
// When there have been very many it forgets all, and something may be told twice.
func (o *firedOnce) again(ev injector.Event) bool {
	if ev.Kind != injector.Fired {
		return false
	}
	a := action{ev.Rule, ev.Ordinal, ev.Flow, ev.Fault, ev.Action.String(), ev.To.String(), ev.Reason}
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, told := o.told[a]; told {
		return true
	}
	if o.told == nil || len(o.told) >= maxTold {
		o.told = map[action]struct{}{}
	}
	o.told[a] = struct{}{}
	return false
}
