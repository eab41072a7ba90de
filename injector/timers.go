package injector

import (
	"cmp"
	"slices"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/heap"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
)

// timer is something that a worker does at a certain time.
type timer struct {
	at      time.Duration
	ideal   time.Duration // when it would leave if nobody were ever late; 0: nobody waits for it
	order   uint64        // the order of being added: timers for the same time run in this order
	kind    timerKind
	inOrder bool  // later packets of its flow in that direction wait for it
	hook    uint8 // releasePacket, and sendPacket of a copy: where the packet was judged

	flow   *entry
	id     nfqueue.ID // releasePacket
	reply  bool
	prio   uint32
	tag    uint32 // releasePacket: of the verdict
	forged bool   // sendPacket: it is of our own making
	signal ruleset.Signal
	pkt    []byte // sendPacket: the packet; releasePacket: what the packet goes on as, nil if unchanged
	mark   uint32
	iface  uint32
}

type timerKind uint8

const (
	wakeFlow      timerKind = iota // a fault's alarm
	releasePacket                  // a held packet gets its verdict
	sendPacket                     // a forged or re-injected packet leaves
)

// dir returns the direction in which the packet travels.
func (l *timer) dir() faults.Direction {
	if l.reply {
		return faults.Reply
	}
	return faults.Original
}

// Before orders timers by time, and those for the same time by when they were added.
func (t *timer) Before(o *timer) bool { return t.at < o.at || t.at == o.at && t.order < o.order }

// timers are held packets, forged packets that leave later, and alarms of flows. They
// belong to one worker.
type timers struct {
	heap  heap.Heap[timer, *timer]
	order uint64
	held  int // packets among them; the others are alarms
	swept int // where sweep looked last
}

// add adds t.
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

// takeOf removes the packets of a flow, and returns them in the order in which they
// would leave.
func (h *timers) takeOf(f *entry) (all []timer) {
	for found := true; found; { // a removal may move another one to the front
		found = false
		for i := 0; i < h.heap.Len(); i++ {
			if t := h.heap.At(i); t.flow == f && t.kind != wakeFlow {
				all, found = append(all, *t), true
				h.heap.Remove(i)
				h.held--
				i--
			}
		}
	}
	slices.SortFunc(all, func(a, b timer) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.order, b.order)) })
	return all
}

// sweep looks at a few timers if there are far more of them than known flows, and
// removes the alarms of flows that are no longer known, which would otherwise stay in
// memory.
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
