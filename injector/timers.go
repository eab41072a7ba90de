package injector

import (
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/heap"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
)

// timer is something that a worker does when its time has come.
type timer struct {
	at      time.Duration
	ideal   time.Duration // when it would leave if nobody were ever late; 0: nobody waits for it
	order   uint64        // of being put in: what is due at the same time goes in this order
	kind    timerKind
	inOrder bool  // what its flow sends that way waits for it
	hook    uint8 // release, send of a copy: where the packet was met

	flow   *entry
	id     nfqueue.ID // release
	reply  bool
	prio   uint32
	tag    uint32 // release: of the verdict
	forged bool   // send: it is of our own making
	signal ruleset.Signal
	pkt    []byte // send; release: what the packet goes on as, nil if unchanged
	mark   uint32
	iface  uint32
}

type timerKind uint8

const (
	wakeFlow      timerKind = iota // a fault's alarm
	releasePacket                  // a held packet gets its verdict
	sendPacket                     // a forged or re-injected packet leaves
)

// dir is the direction that a packet travels.
func (l *timer) dir() faults.Direction {
	if l.reply {
		return faults.Reply
	}
	return faults.Original
}

// Before has what is due earlier first, and of what is due at the same time what was put
// in earlier.
func (t *timer) Before(o *timer) bool { return t.at < o.at || t.at == o.at && t.order < o.order }

// timers is what is due later: packets that are held, forged ones that leave after a
// while, and alarms of flows. It belongs to one worker.
type timers struct {
	heap  heap.Heap[timer, *timer]
	order uint64
	held  int // packets in it; the rest is alarms
	swept int // where sweep looked last
}

// add puts t in.
func (h *timers) add(t timer) {
	h.order++
	t.order = h.order
	if t.kind != wakeFlow {
		h.held++
	}
	h.heap.Push(t)
}

// next returns when the earliest is due, and false if there is none.
func (h *timers) next() (time.Duration, bool) {
	if h.heap.Len() == 0 {
		return 0, false
	}
	return h.heap.At(0).at, true
}

// take removes the earliest and returns it. There must be one.
func (h *timers) take() timer {
	t := h.heap.Pop()
	if t.kind != wakeFlow {
		h.held--
	}
	return t
}

// sweep looks at a few of what is due later if that is much more than the flows
// that are known, and takes out the alarms of flows that are not any more, which
// would keep them in memory.
func (h *timers) sweep(flows int) {
	for range sweepBatch {
		if h.heap.Len() <= 2*flows+fewAlarms {
			return
		}
		h.swept = (h.swept + 1) % h.heap.Len()
		if t := h.heap.At(h.swept); t.kind == wakeFlow && t.flow.deleted {
			h.heap.Remove(h.swept)
		}
	}
}
