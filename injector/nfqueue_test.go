package injector

import (
	"context"
	"errors"
	"testing"

	"github.com/faultctl/faultctl/faults"
)

// TestManyLargeVerdicts holds that verdicts with whole packets in them reach
// the kernel, however many a batch has: it refuses a message that is larger
// than the socket's send buffer, and then every packet in it hangs.
func TestManyLargeVerdicts(t *testing.T) {
	qs, err := openQueues(inKernel(t), 0, 1, copying{})
	if err != nil {
		t.Fatal(err)
	}
	q := qs[0]
	defer q.close()
	for _, size := range []int{1500, 60_000, 0xffff - nlaHeader} {
		for id := range uint32(2 * batchSize) {
			q.verdict(verdictOut{id: id, bytes: make([]byte, size)})
		}
		if err := q.flush(); err != nil {
			t.Errorf("%d verdicts with packets of %d bytes: %v", 2*batchSize, size, err)
		}
	}
}

// TestQueuesTaken holds that nobody is told to get rights that they have when
// all numbers are taken.
func TestQueuesTaken(t *testing.T) {
	ns := inKernel(t)
	for n := uint16(firstQueue); n <= lastQueue; n++ {
		qs, err := openQueues(ns, n, 1, copying{})
		if err != nil {
			t.Fatal(err)
		}
		defer qs[0].close()
	}
	inj, err := New(Config{NetNS: ns, DeadMan: -1, Rules: []Rule{{Faults: fake(faults.Diversion{SYN: true})}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := inj.Run(context.Background()); !errors.Is(err, errQueuesTaken) || errors.Is(err, ErrPermission) {
		t.Errorf("run: %v, want %v", err, errQueuesTaken)
	}
	if left := tableNames(t, ns); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
