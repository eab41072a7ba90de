package injector

import (
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
)

// timer is something that a worker does when its time has come.
type timer struct {
	at      time.Duration
	order   uint64 // of being put in: what is due at the same time goes in this order
	kind    timerKind
	inOrder bool  // what its flow sends that way waits for it
	hook    uint8 // release, send of a copy: where the packet was met

	flow   *entry     // wake, release; of the others if they have a turn
	id     nfqueue.ID // release
	reply  bool
	prio   uint32
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

// timers keeps what is due later: a heap by time. It belongs to one worker.
type timers struct {
	heap  []timer
	order uint64
	held  int // packets in it; the rest is alarms
	swept int // where sweep looked last
}

// add adds l.
func (h *timers) add(l timer) {
	h.order++
	l.order = h.order
	if l.kind != wakeFlow {
		h.held++
	}
	h.heap = append(h.heap, l)
	h.up(len(h.heap) - 1)
}

func (h *timers) up(i int) {
	for i > 0 {
		up := (i - 1) / 2
		if !h.before(i, up) {
			break
		}
		h.heap[i], h.heap[up] = h.heap[up], h.heap[i]
		i = up
	}
}

// next returns when the earliest is due, and false if there is none.
func (h *timers) next() (time.Duration, bool) {
	if len(h.heap) == 0 {
		return 0, false
	}
	return h.heap[0].at, true
}

// take removes and returns the earliest.
func (h *timers) take() timer {
	first := h.heap[0]
	h.remove(0)
	return first
}

// remove takes out the one at that place of the heap.
func (h *timers) remove(i int) {
	if h.heap[i].kind != wakeFlow {
		h.held--
	}
	last := len(h.heap) - 1
	h.heap[i] = h.heap[last]
	h.heap[last] = timer{}
	h.heap = h.heap[:last]
	if i == last {
		return
	}
	h.up(i)
	for {
		child := 2*i + 1
		if child >= last {
			break
		}
		if child+1 < last && h.before(child+1, child) {
			child++
		}
		if !h.before(child, i) {
			break
		}
		h.heap[i], h.heap[child] = h.heap[child], h.heap[i]
		i = child
	}
}

// sweep looks at a few of what is due later if that is much more than the flows
// that are known, and takes out the alarms of flows that are not any more, which
// would keep them in memory.
func (h *timers) sweep(flows int) {
	for range sweepBatch {
		if len(h.heap) <= 2*flows+alarmsAChunk {
			return
		}
		h.swept = (h.swept + 1) % len(h.heap)
		if l := &h.heap[h.swept]; l.kind == wakeFlow && l.flow.deleted {
			h.remove(h.swept)
		}
	}
}

func (h *timers) before(i, j int) bool {
	a, b := &h.heap[i], &h.heap[j]
	return a.at < b.at || a.at == b.at && a.order < b.order
}
