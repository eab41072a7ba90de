package integration

import (
	"slices"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/lab"
)

// TestSYNDrop checks that connect hangs while the kernel retransmits the SYN on
// its own schedule, that nothing answers, and that established connections do not
// notice.
func TestSYNDrop(t *testing.T) {
	everywhere(t, func(t *testing.T, w *testbed) {
		bystander := w.bystander()
		client, server := w.open()
		cap := w.capture()
		run := w.inject("syn-drop")
		hanging := w.client()
		hanging.Timeout(time.Minute)
		done := make(chan string, 1)
		go func() { done <- hanging.Connect(w.service) }()
		again := func() uint32 { return retransmitted(t, hanging) }
		for begun := time.Now(); again() < 2 && time.Since(begun) < time.Minute; {
			healthy(t, "established", client, server)
			pause(100 * time.Millisecond)
		}
		select {
		case got := <-done:
			t.Errorf("connect returned %s", got)
		default:
		}
		if i, err := hanging.Info(); err != nil || i.State != synSent || i.TotalRetrans < 2 {
			t.Errorf("%+v, %v; want the SYN sent again, twice at least, and no answer", i, err)
		}
		ours := hanging.Local()
		var syns []lab.Captured
		if w.at != atClient { // a SYN dropped on the client's own host is not captured
			if !cap.Wait(w.service.Port(), func(segs []lab.Captured) bool {
				syns = slices.DeleteFunc(segs, func(s lab.Captured) bool { return s.Flags() != packet.SYN })
				return len(syns) >= 1+int(again())
			}) {
				t.Errorf("%d SYNs were seen, %d sent again", len(syns), again())
			}
		}
		for i := 1; i < len(syns); i++ {
			if gap := syns[i].At.Sub(syns[i-1].At); gap < 900*time.Millisecond {
				t.Errorf("SYN %d came %v after the one before, want 1 s or more", i, gap)
			}
		}
		hanging.Shutdown()
		<-done
		for _, s := range cap.Segments(w.service.Port()) {
			if s.DstAddrPort() == ours {
				t.Errorf("something answered: %s", s.Flags())
			}
		}
		run.stop()
		bystander()
		client, server = w.open()
		healthy(t, "after", client, server)
	})
}

const synSent = 2 // TCP_SYN_SENT

// TestSYNDropAttempts checks that the second SYN succeeds.
func TestSYNDropAttempts(t *testing.T) {
	everywhere(t, func(t *testing.T, w *testbed) {
		run := w.inject("syn-drop:attempts=1")
		start := time.Now()
		client, server := w.open()
		if took := time.Since(start); took < 900*time.Millisecond {
			t.Errorf("connect took %v, want about 1 s: the first retransmission of the SYN", took)
		}
		if n := run.Stats().Rules[0].Faults[0].Dropped; n != 1 {
			t.Errorf("%d SYNs were dropped, want 1", n)
		}
		says(t, "call", client.Send("ping"), server.Recv())("4", "ping")
	})
}
