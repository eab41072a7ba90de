package injector

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/faultctl/faultctl/faults"
	"golang.org/x/sys/unix"
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
	// Held to what it asks for: a host may have a smaller default.
	if room, err := unix.GetsockoptInt(q.fd, unix.SOL_SOCKET, unix.SO_SNDBUF); err != nil || room < writeBuffer {
		t.Errorf("a write buffer of %d bytes, %v; want %d", room, err, writeBuffer)
	}
	for _, size := range []int{1500, 60_000, 0xffff - nlaHeader} {
		for id := range uint32(2 * batchSize) {
			q.verdict(verdictOut{id: packetID(id), bytes: make([]byte, size)})
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
	inj, err := New(Config{NetNS: ns, Watchdog: -1, Rules: []Rule{{Faults: fake(faults.Diversion{SYN: true})}}})
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

// TestUncutNumbers holds that runs beside each other have numbers of their own for
// what comes uncut as well, and that one which found the numbers in part taken
// keeps none of them.
func TestUncutNumbers(t *testing.T) {
	ns := inKernel(t)
	how := copying{whole: true, apart: true}
	open := func(n uint16) []*nfqueue {
		t.Helper()
		qs, err := openQueues(ns, 0, n, how)
		if err != nil {
			t.Fatal(err)
		}
		return qs
	}
	one := open(1)
	two := open(2)
	if err := one[0].configure(firstUncut+5, true); err != nil {
		t.Fatal(err)
	}
	three := open(3) // 61467 and 61468 are free, and 61469 is not
	var got []uint16
	for _, q := range slices.Concat(one, two, three) {
		got = append(got, q.uncut-firstUncut)
		defer q.close()
	}
	if want := []uint16{0, 1, 2, 6, 7, 8}; !slices.Equal(got, want) {
		t.Errorf("numbers from the first on: %d, want %d", got, want)
	}
	four := open(2)
	defer closeQueues(four)
	if got := four[0].uncut - firstUncut; got != 3 {
		t.Errorf("the numbers between go to nobody: the next two begin with %d, want 3", got)
	}
}

// TestWakeAfterClose holds that a late wake writes nothing into the file that has
// the queue's descriptor by then.
func TestWakeAfterClose(t *testing.T) {
	qs, err := openQueues(inKernel(t), 0, 1, copying{})
	if err != nil {
		t.Fatal(err)
	}
	q := qs[0]
	if err := q.close(); err != nil {
		t.Fatal(err)
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	q.fd = pipe[1]
	q.wake()
	if n, err := unix.Read(pipe[0], make([]byte, 64)); err != unix.EAGAIN {
		t.Errorf("a wake after the end wrote %d bytes, %v", n, err)
	}
}
