package injector

import (
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/lab"
)

// TestDrain checks that before the end of a run what is held leaves within a while,
// in its order and at its pace, that nothing passes it by, and that then nothing is
// held any more. An alarm that would come later does not.
func TestDrain(t *testing.T) {
	for name, hook := range map[string]uint8{"forward": forward, "output": localOut} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, ruleOf(NamedModel{"delay", delayModel{time.Hour}}))
			w := &wire{}
			b.queue, b.sender = w, w
			send := func(seq packet.Seq) {
				b.id++
				b.handle(&nfqueue.Packet{ID: b.id, Hook: hook, Bytes: segment(faults.Original, packet.ACK, seq, 1, "x")})
				b.flush()
			}
			left := func(want int) {
				t.Helper()
				w.left = nil
				b.worker.runTimers(b.now)
				b.flush()
				if len(w.left) != want {
					t.Errorf("after %v %d left, want %d", b.now, len(w.left), want)
				}
			}
			send(1)
			b.now = 500 * time.Millisecond
			send(2)
			b.flows.seen[opening].Oldest().timer = 2 * time.Hour
			b.timers.add(timer{at: 30 * time.Minute, kind: wakeFlow, flow: b.flows.seen[opening].Oldest()})
			w.left = nil
			calm := make(chan struct{})
			b.post(func() { b.drain(b.clock(), calm) })
			b.runPosted()
			ended := b.now
			left(0)
			b.now = ended + drainWithin/2
			left(0)
			send(3) // behind the others, although it is not held itself
			b.tellDrained()
			if len(w.left) != 0 {
				t.Errorf("%q left before what is held", w.left)
			}
			b.now = ended + drainWithin
			left(3)
			if b.flows.seen[opening].Oldest().timer != faults.Never {
				t.Error("an alarm of later is still awaited")
			}
			select {
			case <-calm:
				t.Error("calm before it was looked")
			default:
			}
			b.tellDrained()
			b.tellDrained() // it says so once
			select {
			case <-calm:
			default:
				t.Fatal("something is held still")
			}
			w.left = nil
			send(4)
			if len(w.left) != 1 {
				t.Errorf("%d left, want the one that nothing is before", len(w.left))
			}
		})
	}
}

// TestDrainAllWorkers checks that all workers let go at once: one that takes its time
// leaves the others theirs.
func TestDrainAllWorkers(t *testing.T) {
	one, other := newBench(t, ruleOf(model(t, "observe"))), newBench(t, ruleOf(model(t, "observe")))
	c := &workers{all: []*worker{one.worker, other.worker}, gone: make(chan struct{})}
	done := make(chan struct{})
	go func() {
		c.drain()
		close(done)
	}()
	if !lab.Eventually(func() bool { return one.posted.Load() && other.posted.Load() }) {
		t.Error("the second worker waits for the first")
	}
	for _, b := range []*bench{other, one} {
		b.runPosted()
		b.tellDrained()
	}
	<-done
}
