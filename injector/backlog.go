package injector

import (
	"time"

	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
)

// A worker that gets too little of a processor, or more packets than it can judge,
// makes all of them wait. How long they have waited nobody tells: the kernel stamps
// packets only on their way in, and only if a socket of the host asks for it. The worker
// knows it from three things, none of which costs anything for a packet:
//
//   - When it has received all that is there, whatever comes later has waited no longer
//     than since then.
//   - While it never gets that far, it sends marks: the kernel's answer to one takes its
//     place behind what waits on the socket, so what comes after it has waited no longer
//     than since the mark was sent.
//   - When it slept, and was to wake at a certain time, and woke later, it was kept from
//     running: stopped, or without a processor (wakeEvery bounds what that leaves open).
//
// Connections that are known slow down when their packets have to wait; that is TCP's
// way, and they are judged, late, which is said. A flood of new ones does not. If the
// worker stays behind, and much of what it gets begins connections, two things keep the
// wait short. What begins a connection passes unjudged: it costs less, and those that are
// known, held packets and dead ends among them, stay whole. And the kernel's queue has room for what the worker is able to serve
// in a tenth of a second: the kernel lets pass what would have to wait for longer,
// whatever it belongs to. Both are counted, and a run in which that happened is not
// conclusive.

const (
	// LateAfter is when a verdict is late: at Linux's least retransmission timeout
	// (TCP_RTO_MIN), from which on TCP sends again what was not lost.
	LateAfter = 200 * time.Millisecond

	// TooLateAfter is when a single late verdict makes a run inconclusive: at Linux's
	// timeout of a SYN (TCP_TIMEOUT_INIT).
	TooLateAfter = time.Second

	behindAfter = LateAfter / 4         // packets that have waited for so long are too many for the worker,
	shedAfter   = 50 * time.Millisecond // if it does not catch up within this time,
	floodShare  = 8                     // and one in so many begins a connection

	roomFor    = LateAfter / 2 // how long what waits in the kernel's queue may take in a flood
	leastRoom  = 4 * nfqueue.BatchSize
	floodEnds  = time.Second           // or is over when nothing had to wait for long for this time
	limitEvery = 20 * time.Millisecond // the kernel's limit follows the packets that are held

	markEvery = 5 * time.Millisecond
	markUnit  = 1 << 16 // a mark is the time in these nanoseconds, in 32 bits

	// atOnce is how long a receive takes at most that finds packets.
	atOnce = time.Millisecond

	// wakeEvery is how long a worker sleeps that has lately had packets, and with
	// that how exactly it is known whether they had to wait for it to wake.
	wakeEvery = 20 * time.Millisecond
	lately    = time.Second
)

// backlog is how far a worker is behind. It belongs to one worker. In the zero value it
// is not.
type backlog struct {
	queue queue

	since   time.Duration // what has yet to be received has come in later
	more    bool          // the last receive left something
	marked  time.Duration // when the last mark was sent
	arrived time.Duration // when the packets at hand had come in, at the earliest
	packets time.Duration // when the last ones came
	last    time.Duration // when the last receive ended

	behind   bool
	behindAt time.Duration // since when
	flooded  bool          // what begins a connection passes

	served, unknown int           // since there is always more to serve, or since roomFor: packets, and those that began a connection
	busy            time.Duration // in that time
	rates           [3]int        // how many in roomFor, lately; 0: it is not known
	waitedAt        time.Duration // when packets last had to wait for long
	limited         bool          // the kernel's queue is
	limitedAt       time.Duration
}

// sleep is how long the worker may sleep of the time that it would.
func (b *backlog) sleep(wait, now time.Duration) time.Duration {
	if b.packets != 0 && now-b.packets < lately {
		return min(wait, wakeEvery)
	}
	return wait
}

// received takes down what a receive brought that began at asked, was to wait no longer
// than wait, and has ended now.
func (b *backlog) received(r nfqueue.Received, asked, wait, now time.Duration) {
	more := r.More && r.N > 0
	if b.more && !r.Waited {
		b.served, b.busy = b.served+r.N, b.busy+now-b.last
	} else {
		b.served, b.unknown, b.busy = r.N, 0, 0
	}
	b.last = now
	waited := time.Duration(0)
	switch slept := r.Waited || !b.more && now-asked > atOnce; {
	case slept:
		waited = max(0, now-asked-wait)
		b.since = now - waited
	case b.more:
		waited = now - b.since
	default: // they came while the worker was busy
		waited = asked - b.since
	}
	switch {
	case !more:
		b.since = now
	case r.Mark != 0: // what came before it was in this batch
		b.since = max(b.since, now-markAge(r.Mark, now))
	}
	b.more = more
	b.arrived = now - waited
	if r.N > 0 {
		b.packets = now
	}
	b.watch(waited, now)
}

// watch decides whether there is a flood, and how much may wait then.
func (b *backlog) watch(waited, now time.Duration) {
	switch {
	case b.more && waited > behindAfter && !b.behind:
		b.behind, b.behindAt = true, now
	case b.behind && (!b.more || waited < behindAfter/2):
		b.behind = false
	}
	if waited > behindAfter/2 {
		b.waitedAt = now
	}
	switch {
	case b.behind && now-b.behindAt >= shedAfter && b.unknown*floodShare >= b.served && b.busy > 0:
		if !b.flooded {
			b.flooded, b.rates[0] = true, b.rate()
		}
	case now-b.waitedAt > floodEnds:
		b.flooded, b.rates = false, [3]int{}
	}
	if b.busy >= roomFor {
		if b.flooded = b.flooded && b.unknown*floodShare >= b.served; b.flooded {
			copy(b.rates[1:], b.rates[:])
			b.rates[0] = b.rate()
		}
		b.served, b.unknown, b.busy = 0, 0, 0
	}
	if b.flooded && now-b.limitedAt >= limitEvery || b.limited && !b.flooded {
		b.limited, b.limitedAt = b.flooded, now
		b.queue.Limit(b.room())
	}
}

// rate is how many packets the worker serves in roomFor.
func (b *backlog) rate() int {
	return max(1, int(int64(b.served)*int64(roomFor)/int64(b.busy)))
}

// room is how many packets may wait in the kernel's queue.
func (b *backlog) room() int {
	least := nfqueue.Length
	for _, n := range b.rates {
		if n != 0 {
			least = min(least, max(n, leastRoom))
		}
	}
	return least
}

// sheds reports whether what begins a connection passes now.
func (b *backlog) sheds() bool { return b.flooded && b.behind }

// mark sends a mark, if it is time for one.
func (b *backlog) mark(now time.Duration) {
	if b.more && now-b.marked >= markEvery {
		b.marked = now
		b.queue.Mark(markOf(now))
	}
}

// markOf is the mark of a time: never 0.
func markOf(now time.Duration) uint32 { return max(1, uint32(now/markUnit)) }

// markAge is how long ago a mark was made, if that was within a day.
func markAge(mark uint32, now time.Duration) time.Duration {
	return max(0, time.Duration(int32(uint32(now/markUnit)-mark))*markUnit)
}

// beginsFlow reports whether a segment begins a connection, or refuses it.
func beginsFlow(seg packet.Segment) bool { return seg.Flags()&(packet.SYN|packet.RST) != 0 }

// shed lets a packet pass unjudged that begins a connection which is not known, and reports
// whether it did. What belongs to one that is known must be judged: one that a fault has
// killed would come to life again.
func (w *worker) shed(p *nfqueue.Packet, seg packet.Segment, now time.Duration) bool {
	if !beginsFlow(seg) {
		return false
	}
	if e, _ := w.find(seg, now); e != nil {
		return false
	}
	if w.isRequeued(p) {
		w.totals.segments.Add(1)
	}
	w.backlog.unknown++
	w.totals.shed.Add(1)
	w.queue.Verdict(nfqueue.Verdict{ID: p.ID})
	return true
}
