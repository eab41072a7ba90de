package injector

import (
	"sync/atomic"
	"time"
)

// latencyBounds are the upper ends of a Histogram's buckets.
var latencyBounds = [...]time.Duration{
	10 * time.Microsecond, 25 * time.Microsecond, 50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, time.Second,
}

// latency counts the time from receiving a packet to sending its verdict.
// Workers add, any goroutine may read.
type latency struct {
	counts [len(latencyBounds) + 1]atomic.Uint64 // the last one is beyond all bounds
	sum    atomic.Int64                          // nanoseconds
}

// observe counts n packets of one batch. Verdicts leave together, so each of
// them took as long as the batch did. It costs three atomic additions a batch.
func (l *latency) observe(took time.Duration, n int) {
	if n == 0 {
		return
	}
	i := 0
	for i < len(latencyBounds) && took > latencyBounds[i] {
		i++
	}
	l.counts[i].Add(uint64(n))
	l.sum.Add(int64(took) * int64(n))
}

func (l *latency) snapshot() Histogram {
	h := Histogram{Bounds: latencyBounds[:], Counts: make([]uint64, len(l.counts)), Sum: time.Duration(l.sum.Load())}
	for i := range l.counts {
		h.Counts[i] = l.counts[i].Load()
	}
	return h
}

// Plus returns the counts of both histograms together. They have the same
// bounds, or one of them has counted nothing.
func (h Histogram) Plus(o Histogram) Histogram {
	if len(h.Counts) < len(o.Counts) {
		h, o = o, h
	}
	counts := append([]uint64(nil), h.Counts...)
	for i, n := range o.Counts {
		counts[i] += n
	}
	return Histogram{Bounds: h.Bounds, Counts: counts, Sum: h.Sum + o.Sum}
}
