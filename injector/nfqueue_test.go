package injector

import "testing"

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
