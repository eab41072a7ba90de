package integration

import (
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/faultctl/faultctl/lab"
)

// TestDelayThroughput compares the throughput of one stream under a delay of
// forwarded packets, which are held, with that under the same delay of local
// packets, which are copied, dropped and sent again. It alternates between the
// two, on a machine that should do nothing else. It checks that the latter is at
// least 0.9 of the former, whatever the limit is, and that neither makes TCP send
// anything twice. If the processors are the limit, the link's own queue drops
// segments, so that is only logged.
//
// The send buffer is the hardest limit: the kernel wakes a writer that waits for
// room when a third is free. On the path through a router the writer, which that
// path slows down, is still writing while the acknowledgments of a window arrive.
// On faultctl's own host it may have filled the buffer before, and the room that
// they free is then unused until the next ones.
func TestDelayThroughput(t *testing.T) {
	if os.Getenv("FAULTCTL_MEASURE") != "1" {
		t.Skip("this measures, and only a quiet machine can: set FAULTCTL_MEASURE=1")
	}
	for _, c := range []struct{ limit, receiveBuffer, sendBuffer string }{
		{"window", linuxReceives, "4096 16384 16777216"},
		{"send buffer", linuxReceives, "4096 16384 4194304"}, // both are Linux's defaults
		{"processors", "4096 33554432 67108864", "4096 33554432 67108864"},
	} {
		t.Run(c.limit, func(t *testing.T) {
			lanes := []vantage{atRouter, atClient}
			speed, cost := map[vantage][]float64{}, map[vantage][]float64{}
			for range 5 {
				for _, at := range lanes {
					t.Run(string(at), func(t *testing.T) {
						mbit, us, again := delayed(t, at, c.receiveBuffer, c.sendBuffer)
						if again != 0 {
							t.Logf("%d segments were sent again", again)
						}
						if again != 0 && c.limit != "processors" {
							t.Error("something was sent twice")
						}
						t.Logf("%.0f Mbit/s, %.1f µs of processor time a segment", mbit, us)
						speed[at], cost[at] = append(speed[at], mbit), append(cost[at], us)
					})
				}
			}
			forward, output := median(speed[atRouter]), median(speed[atClient])
			t.Logf("forward %.0f Mbit/s, %.1f µs a segment; output %.0f Mbit/s, %.1f µs; ratio %.2f",
				forward, median(cost[atRouter]), output, median(cost[atClient]), output/forward)
			if output < 0.9*forward {
				t.Errorf("output carries %.2f of forward", output/forward)
			}
		})
	}
}

// linuxReceives is Linux's default tcp_rmem, whatever this machine has.
const linuxReceives = "4096 131072 6291456"

// delayed returns the throughput of one stream under a delay, and the processor
// time of everything: both ends, the links and the delay.
func delayed(t *testing.T, at vantage, receiveBuffer, sendBuffer string) (mbit, us float64, again uint64) {
	const size = 64 << 20
	w := newTestbed(t, at, false)
	for _, n := range []*lab.Node{w.Client, w.Server} {
		for name, value := range map[string]string{"tcp_rmem": receiveBuffer, "tcp_wmem": sendBuffer} {
			if err := n.Sysctl("net/ipv4/"+name, value); err != nil {
				t.Fatal(err)
			}
		}
	}
	run := w.inject("delay:by=50ms,jitter=10ms")
	s := w.streams(1, 0)
	pour(t, s, size/4) // until the window is fully open
	before := w.counters("TcpRetransSegs")["TcpRetransSegs"]
	start, spent := time.Now(), processorTime(t)
	pour(t, s, size)
	took := time.Since(start)
	spent = processorTime(t) - spent
	again = w.counters("TcpRetransSegs")["TcpRetransSegs"] - before
	if st := run.Stats(); st.Overruns != 0 || st.Diverted == 0 {
		t.Errorf("%+v", st)
	}
	return 8 * float64(size) / 1e6 / took.Seconds(), float64(spent.Microseconds()) * segment / size, again
}

// processorTime is what this process has used.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func median(of []float64) float64 {
	slices.Sort(of)
	return of[len(of)/2]
}
