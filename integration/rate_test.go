package integration

import (
	"sync"
	"testing"
	"time"

	"github.com/faultctl/faultctl/lab"
)

// TestThrottle checks that a narrow link carries its rate, IP headers included,
// over ten seconds of a stream that could use more.
func TestThrottle(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, w *testbed) {
		w.narrowLoopback()
		run := w.inject("throttle:rate=1mbit")
		s := w.streams(1, 0)[0]
		defer w.flood(s)()
		carried := func() (bytes int) {
			i, err := s.server.Info()
			if err != nil {
				t.Fatal(err)
			}
			return int(i.Received + uint64(i.SegsIn)*w.headers())
		}
		if !lab.Eventually(func() bool { return carried() > 100_000 }) {
			t.Fatal("the stream does not flow")
		}
		for try := 1; ; try++ { // a machine that stalls distorts one measurement; a wrong rate is wrong each time
			start, before := time.Now(), carried()
			time.Sleep(10 * time.Second) // the time of the measurement; it may be longer
			bits, took := 8*(carried()-before), time.Since(start)
			rate := float64(bits) / took.Seconds()
			if rate >= 0.95e6 && rate <= 1.05e6 {
				break
			}
			t.Logf("%.0f bit/s over %v", rate, took)
			if try == 3 {
				t.Errorf("%.0f bit/s, want a million", rate)
				break
			}
		}
		if s := run.Stats(); s.Overruns != 0 || s.Lost != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// headers is the size of the headers of a data segment: IP, TCP, timestamps.
func (w *testbed) headers() uint64 {
	if w.service.Addr().Is6() {
		return 40 + 20 + 12
	}
	return 20 + 20 + 12
}

// flood sends into the streams, and receives at the other end, until the returned
// function is called.
func (w *testbed) flood(ss ...stream) (stop func()) {
	var wg sync.WaitGroup
	for _, s := range ss {
		wg.Go(func() {
			for s.client.Pour(1<<16) == nil {
			}
		})
		wg.Go(func() {
			for s.server.Drain(1<<16) == nil {
			}
		})
	}
	return func() {
		for _, s := range ss {
			s.client.Shutdown()
			s.server.Shutdown()
		}
		wg.Wait()
	}
}

// TestLoss checks that a tenth of the segments is lost, and that TCP takes it for
// loss on the wire: it retransmits them, and never assumes that they are still in
// the host or that the peer's window is closed.
func TestLoss(t *testing.T) {
	everywhere(t, func(t *testing.T, w *testbed) {
		const least = 100_000 // small segments on many streams: most streams wait for a timer most of the time
		w.narrowLoopback()
		ss := w.streams(50, 536)
		run := w.inject("loss:chance=10%")
		names := []string{"TcpRetransSegs", "TcpExtTCPWinProbe", "TcpExtTCPSpuriousRtxHostQueues"}
		before := w.counters(names...)
		defer w.flood(ss...)()
		enough := func() bool { return run.Stats().Rules[0].Faults[0].Diverted >= least }
		for range 4 { // two minutes
			if lab.Eventually(enough) {
				break
			}
		}
		probing := 0
		for _, s := range ss {
			i, err := s.client.Info()
			if err != nil {
				t.Fatal(err)
			}
			if i.Probes > 0 {
				probing++
			}
		}
		rose := w.counters(names...)
		for name := range rose {
			rose[name] -= before[name]
		}
		f := run.Stats().Rules[0].Faults[0]
		if share := float64(f.Dropped) / float64(f.Diverted); f.Diverted < least || share < 0.09 || share > 0.11 {
			t.Errorf("%.2f %% lost of %d", 100*share, f.Diverted)
		}
		// A timer may expire between the queue and the verdict, which takes longer on
		// a busy machine. If segments were held, it would happen with each of them.
		again, windows, held := rose[names[0]], rose[names[1]], rose[names[2]]
		if again < f.Dropped/4 || held > again/20 {
			t.Errorf("of %d lost segments %d were sent again, %d were taken for being in the host", f.Dropped, again, held)
		}
		// On a busy machine a slow reader really closes its window sometimes. A drop
		// that is reported to TCP makes each connection probe each time.
		if probing > len(ss)/3 || windows > again/20 {
			t.Errorf("%d of %d connections probe a closed window; %d probes for %d segments sent again", probing, len(ss), windows, again)
		}
	})
}
