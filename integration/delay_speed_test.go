package integration

import (
	"os"
	"testing"
	"time"
)

// TestDelayThroughput compares what one stream carries under a delay that is held
// in forward with the same delay of local packets, which are copied, dropped and
// sent again: in turns, on one machine that has nothing else to do. It holds that
// the latter is at least 0.9 of the former, and that neither makes TCP send anything
// twice.
func TestDelayThroughput(t *testing.T) {
	if os.Getenv("FAULTCTL_MEASURE") != "1" {
		t.Skip("this measures, and only a quiet machine can: set FAULTCTL_MEASURE=1")
	}
	const rounds, size = 5, 64 << 20
	var sum [2]float64
	var again [2]uint64
	for range rounds {
		for i, at := range []vantage{atRouter, atClient} {
			t.Run(string(at), func(t *testing.T) {
				w := newWorld(t, at, false)
				run := w.inject("delay:by=50ms,jitter=10ms")
				s := w.streams(1, 0)
				pour(t, s, size/4) // until the window is open
				before := w.counters("TcpRetransSegs")["TcpRetransSegs"]
				start := time.Now()
				pour(t, s, size)
				mbit := 8 * float64(size) / 1e6 / time.Since(start).Seconds()
				n := w.counters("TcpRetransSegs")["TcpRetransSegs"] - before
				t.Logf("%.0f Mbit/s, %d sent again", mbit, n)
				sum[i], again[i] = sum[i]+mbit, again[i]+n
				if st := run.Stats(); st.Overruns != 0 || st.Diverted == 0 {
					t.Errorf("%+v", st)
				}
			})
		}
	}
	ratio := sum[1] / sum[0]
	t.Logf("forward %.0f Mbit/s, output %.0f Mbit/s: %.2f; sent again: %v", sum[0]/rounds, sum[1]/rounds, ratio, again)
	if ratio < 0.9 || again != [2]uint64{} {
		t.Errorf("output carries %.2f of forward; sent again: %v", ratio, again)
	}
}
