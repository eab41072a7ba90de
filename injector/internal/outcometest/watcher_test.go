package outcometest

import (
	"fmt"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/features"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector"
	"sync"
	"time"
)

// watcher feeds a Tracker with what the engine's tap shows of one connection.
type watcher struct {
	mu    sync.Mutex
	tr    outcome.Tracker
	start time.Time
	last  time.Duration
	hit   bool
	seen  []string
}

func (w *watcher) packet(p injector.Packet) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := max(w.last, p.Time.Sub(w.start))
	w.last = at
	dir := faults.Original
	if p.FromServer {
		dir = faults.Reply
	}
	s, err := packet.Parse(p.Bytes)
	if err == nil {
		w.seen = append(w.seen, fmt.Sprintf("%v %v [%v] len %d %s", at.Round(time.Millisecond), dir, s.Flags(), s.PayloadLen(), p.Fate))
		switch p.Fate {
		case injector.Passed:
			w.tr.Segment(at, dir, s, features.Passed)
		case injector.Dropped:
			w.tr.Segment(at, dir, s, features.Dropped)
		case injector.Delayed:
			w.tr.Segment(at, dir, s, features.Held)
		case injector.Rewritten:
			w.tr.Segment(at, dir, s, features.Rewritten)
		}
	}
	if p.Fate != injector.Late {
		for _, n := range p.Notes {
			w.tr.Strike(at, n.Action, n.To)
			w.hit = true
		}
	}
	if err != nil {
		return
	}
	switch p.Fate {
	case injector.Replacement:
		w.tr.Replaced(at, dir, s)
	case injector.Forged:
		w.tr.Forged(at, dir, s)
	}
}

func (w *watcher) kernel(side faults.Side, ev outcome.Evidence) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tr.Kernel(max(w.last, time.Since(w.start)), side, ev)
}

func (w *watcher) struck() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hit
}
