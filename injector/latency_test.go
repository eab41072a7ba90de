package injector

import (
	"testing"
	"time"
)

func TestLatency(t *testing.T) {
	var l latency
	l.observe(time.Second, 0)
	l.observe(10*time.Microsecond, 3)
	l.observe(11*time.Microsecond, 2)
	l.observe(2*time.Second, 1)
	h := l.snapshot()
	if len(h.Counts) != len(h.Bounds)+1 {
		t.Fatalf("%d counts for %d bounds", len(h.Counts), len(h.Bounds))
	}
	if last := len(h.Counts) - 1; h.Counts[0] != 3 || h.Counts[1] != 2 || h.Counts[last] != 1 || h.Sum != 2*time.Second+52*time.Microsecond {
		t.Errorf("%+v", h)
	}
	if p := (Histogram{}).Plus(h).Plus(h); p.Counts[0] != 6 || p.Sum != 2*h.Sum || len(p.Bounds) != len(h.Bounds) || h.Counts[0] != 3 {
		t.Errorf("twice that is %+v", p)
	}
	if n := testing.AllocsPerRun(100, func() { l.observe(time.Millisecond, 64) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
