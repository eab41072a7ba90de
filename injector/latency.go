package injector

import (
	"sync/atomic"
	"time"
)

// latencyBounds are the upper bounds of a Histogram's buckets.
var latencyBounds = [...]time.Duration{
	10 * time.Microsecond, 25 * time.Microsecond, 50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, LateAfter, 500 * time.Millisecond, TooLateAfter,
}

// latency counts how late verdicts are: the time from when a packet came in, or from
// when a fault would have let it go, to sending its verdict. Workers add, any goroutine
// may read.
type latency struct {
	counts [len(latencyBounds) + 1]atomic.Uint64 // the last one is above all bounds
	sum    atomic.Int64                          // nanoseconds
	max    atomic.Int64
}

// observe counts n packets of one batch. Verdicts leave together, so each of the
// packets took as long as the batch. It costs three atomic additions per batch.
func (l *latency) observe(took time.Duration, n int) {
	if n == 0 {
		return
	}
	l.add(n, took*time.Duration(n), took)
}

// add counts n packets none of which took longer than most.
func (l *latency) add(n int, sum, most time.Duration) {
	l.counts[bucket(most)].Add(uint64(n))
	l.sum.Add(int64(sum))
	for old := l.max.Load(); int64(most) > old && !l.max.CompareAndSwap(old, int64(most)); {
		old = l.max.Load()
	}
}

// bucket is the place of a time among latencyBounds.
func bucket(took time.Duration) (i int) {
	for i < len(latencyBounds) && took > latencyBounds[i] {
		i++
	}
	return i
}

// lateness gathers what one worker counts packet by packet: what is released together is
// mostly about as late. It belongs to the worker.
type lateness struct {
	bucket, n int
	sum, max  time.Duration
}

func (r *lateness) observe(to *latency, took time.Duration) {
	took = max(0, took)
	if i := bucket(took); i != r.bucket {
		r.tell(to, 0)
		r.bucket = i
	}
	r.n, r.sum, r.max = r.n+1, r.sum+took, max(r.max, took)
}

// tell counts what was gathered, each of which took as much longer.
func (r *lateness) tell(to *latency, longer time.Duration) {
	if r.n > 0 {
		to.add(r.n, r.sum+longer*time.Duration(r.n), r.max+longer)
		*r = lateness{bucket: r.bucket}
	}
}

func (l *latency) snapshot() Histogram {
	h := Histogram{Bounds: latencyBounds[:], Counts: make([]uint64, len(l.counts)), Sum: time.Duration(l.sum.Load()), Max: time.Duration(l.max.Load())}
	for i := range l.counts {
		h.Counts[i] = l.counts[i].Load()
	}
	return h
}

// Count is how many durations were counted.
func (h Histogram) Count() (n uint64) {
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// Over counts the durations that were longer than d, which is one of the bounds.
func (h Histogram) Over(d time.Duration) (n uint64) {
	for i, c := range h.Counts {
		if i >= len(h.Bounds) || h.Bounds[i] > d {
			n += c
		}
	}
	return n
}

// Within is a time that no more than the rest of the durations was longer than, share
// being from 0 to 1: the least of the bounds, or the longest duration if that is less.
// It is 0 if nothing was counted.
func (h Histogram) Within(share float64) time.Duration {
	all := h.Count()
	rest := all
	for i, c := range h.Counts {
		rest -= c
		if i < len(h.Bounds) && float64(rest) <= (1-share)*float64(all) {
			return min(h.Bounds[i], h.Max)
		}
	}
	return h.Max
}
