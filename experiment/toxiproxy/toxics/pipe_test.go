package toxics

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// player plays a pipe on a clock of its own, and notes what comes out when.
type player struct {
	p    Pipe
	now  time.Time
	said []string
}

var start = time.Unix(1000, 0)

func playing(fresh bool, all ...Toxic) *player {
	q := &player{now: start}
	q.set(fresh, all...)
	return q
}

// set puts toxics in force; each has its place as its ID.
func (q *player) set(fresh bool, all ...Toxic) {
	var ss []Setting
	for i, t := range all {
		if t != nil {
			ss = append(ss, Setting{ID: uint64(i), Toxic: t, Toxicity: 1})
		}
	}
	q.p.Set(q.now, ss, func(uint64) float32 { return 0.5 }, fresh)
	q.settle()
}

// settle takes what is due, and returns when more will be.
func (q *player) settle() time.Time {
	for {
		next := q.p.Step(q.now)
		data := q.p.Next()
		if data == nil {
			if e := q.p.Ended(); e != None && !slices.ContainsFunc(q.said, func(s string) bool { return strings.HasSuffix(s, "end") }) {
				q.said = append(q.said, fmt.Sprintf("%d:%s", q.ms(), [...]string{"", "finish end", "close end", "abort end"}[e]))
			}
			return next
		}
		q.said = append(q.said, fmt.Sprintf("%d:%d", q.ms(), len(data)))
		q.p.Wrote(len(data))
	}
}

func (q *player) ms() int64 { return q.now.Sub(start).Milliseconds() }

// until lets time pass to that many milliseconds since the start.
func (q *player) until(ms int64) {
	end := start.Add(time.Duration(ms) * time.Millisecond)
	for {
		next := q.settle()
		if next.IsZero() || next.After(end) {
			q.now = end
			q.settle()
			return
		}
		q.now = next
	}
}

func (q *player) put(n int)   { q.p.Put(q.now, make([]byte, n)); q.settle() }
func (q *player) finish()     { q.p.End(q.now, Finish); q.settle() }
func (q *player) aborted()    { q.p.End(q.now, Abort); q.settle() }
func (q *player) out() string { return strings.Join(q.said, " ") }

// TestToxics holds what each toxic does to data and to the end, and when.
func TestToxics(t *testing.T) {
	for name, c := range map[string]struct {
		play func() *player
		want string
	}{
		"latency: data, not the end": {func() *player {
			q := playing(true, &LatencyToxic{Latency: 100})
			q.put(5)
			q.until(30)
			q.put(7)
			q.finish()
			q.until(1000)
			return q
		}, "100:5 130:7 130:finish end"},
		"latencies add up": {func() *player {
			q := playing(true, &LatencyToxic{Latency: 100}, &LatencyToxic{Latency: 50})
			q.put(5)
			q.until(1000)
			return q
		}, "150:5"},
		"no latency is negative": {func() *player {
			q := playing(true, &LatencyToxic{Latency: -100})
			q.put(5)
			return q
		}, "0:5"},
		"a latency that is removed lets go of what it holds, in order": {func() *player {
			q := playing(true, &LatencyToxic{Latency: 100}, &LatencyToxic{Latency: 100})
			q.put(1)
			q.until(110)
			q.put(2)
			q.until(120)
			q.set(false)
			q.put(3)
			return q
		}, "120:1 120:2 120:3"},
		"a latency that is changed holds for what it has": {func() *player {
			q := playing(true, &LatencyToxic{Latency: 1000})
			q.put(1)
			q.until(100)
			q.set(false, &LatencyToxic{Latency: 200})
			q.until(500)
			return q
		}, "200:1"},
		"bandwidth": {func() *player {
			q := playing(true, &BandwidthToxic{Rate: 1}) // a byte a millisecond
			q.put(250)
			q.until(1000)
			return q
		}, "100:100 200:100 250:50"},
		"bandwidth 0, then more": {func() *player {
			q := playing(true, new(BandwidthToxic))
			q.put(10)
			q.finish()
			q.until(500)
			q.set(false, &BandwidthToxic{Rate: 1})
			q.until(1000)
			return q
		}, "500:10 500:finish end"},
		"slow_close": {func() *player {
			q := playing(true, &SlowCloseToxic{Delay: 300})
			q.put(3)
			q.until(100)
			q.finish()
			q.until(1000)
			return q
		}, "0:3 400:finish end"},
		"slow_close that is removed": {func() *player {
			q := playing(true, &SlowCloseToxic{Delay: 300})
			q.finish()
			q.until(100)
			q.set(false)
			return q
		}, "100:finish end"},
		"timeout": {func() *player {
			q := playing(true, &TimeoutToxic{Timeout: 200})
			q.until(150)
			q.put(3)
			q.until(1000)
			return q
		}, "200:close end"},
		"timeout 0, removed": {func() *player {
			q := playing(true, new(TimeoutToxic))
			q.put(3)
			q.until(500)
			q.set(false)
			return q
		}, "500:close end"},
		"reset_peer: after the first data": {func() *player {
			q := playing(true, &ResetToxic{Timeout: 100})
			q.until(50)
			q.put(3)
			q.until(1000)
			return q
		}, "150:abort end"},
		"reset_peer: a connection that was open and idle": {func() *player {
			q := playing(true)
			q.until(50)
			q.set(false, &ResetToxic{Timeout: 100})
			q.until(1000)
			return q
		}, "150:abort end"},
		"reset_peer: a new connection that stays idle": {func() *player {
			q := playing(true, &ResetToxic{Timeout: 100})
			q.until(5000)
			return q
		}, "1100:abort end"},
		"slicer": {func() *player {
			q := playing(true, &SlicerToxic{AverageSize: 10, Delay: 2000})
			q.put(35)
			q.until(1000)
			return q
		}, "0:8 2:9 4:9 6:9"},
		"slicer of size 0": {func() *player {
			q := playing(true, new(SlicerToxic))
			q.put(35)
			return q
		}, "0:35"},
		"limit_data": {func() *player {
			q := playing(true, &LimitDataToxic{Bytes: 10})
			q.put(7)
			q.until(5)
			q.put(7)
			q.put(7)
			return q
		}, "0:7 5:3 5:close end"},
		"limit_data of no bytes closes at the first": {func() *player {
			q := playing(true, new(LimitDataToxic))
			q.until(5)
			q.put(7)
			return q
		}, "5:close end"},
		"limit_data counts what is late": {func() *player {
			q := playing(true, &LimitDataToxic{Bytes: 10}, &LatencyToxic{Latency: 50})
			q.put(20)
			q.until(100)
			return q
		}, "50:10 50:close end"},
		"the reset of a source is behind its data": {func() *player {
			q := playing(true, &LatencyToxic{Latency: 50})
			q.put(20)
			q.aborted()
			q.until(100)
			return q
		}, "50:20 50:abort end"},
		"noop": {func() *player {
			q := playing(true, new(NoopToxic))
			q.put(20)
			q.finish()
			return q
		}, "0:20 0:finish end"},
		"a toxic that is added at the end of a stream": {func() *player {
			q := playing(true, &SlowCloseToxic{Delay: 100})
			q.finish()
			q.set(false, &SlowCloseToxic{Delay: 100}, new(NoopToxic))
			q.until(1000)
			return q
		}, "100:finish end"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.play().out(); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// TestToxicity holds that a connection is struck whose lot is below the toxicity.
func TestToxicity(t *testing.T) {
	for toxicity, want := range map[float32]int{0: 5, 0.5: 5, 0.51: 0, 1: 0} {
		var p Pipe
		p.Set(start, []Setting{{ID: 1, Toxic: new(TimeoutToxic), Toxicity: toxicity}}, func(uint64) float32 { return 0.5 }, true)
		p.Put(start, make([]byte, 5))
		p.Step(start)
		if got := len(p.Next()); got != want {
			t.Errorf("toxicity %v: %d bytes pass, want %d", toxicity, got, want)
		}
	}
}

// TestBacklog holds that a pipe takes no more than it can pass on.
func TestBacklog(t *testing.T) {
	for _, all := range [][]Toxic{{new(BandwidthToxic)}, {&LatencyToxic{Latency: 1e6}}, {new(NoopToxic), new(BandwidthToxic)}, {&LatencyToxic{}, new(BandwidthToxic)}} {
		q := playing(true, all...)
		n := 0
		for q.p.Room() {
			if q.put(1 << 10); n > 64<<10 {
				t.Fatalf("%T: it takes %d kB", all[0], n)
			}
			n++
		}
	}
}

// TestCut holds that pieces differ from the average by no more than they may.
func TestCut(t *testing.T) {
	s := &SlicerToxic{AverageSize: 100, SizeVariation: 20}
	for n := range 3000 {
		sum := 0
		for _, size := range s.cut(nil, n) {
			if sum += size; size > 120 || n > 0 && size < 1 {
				t.Fatalf("%d of %d", size, n)
			}
		}
		if sum != n {
			t.Fatalf("%d of %d", sum, n)
		}
	}
}
