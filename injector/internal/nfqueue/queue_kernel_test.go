package nfqueue

import (
	"net/netip"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/kerneltest"
	"github.com/faultctl/faultctl/injector/internal/minirun"
	"github.com/faultctl/faultctl/lab"
	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// TestManyLargeVerdicts checks that verdicts with whole packets in them reach
// the kernel, however many a batch has: it refuses a message that is larger
// than the socket's send buffer, and then every packet in it hangs.
func TestManyLargeVerdicts(t *testing.T) {
	qs, err := Open(kerneltest.NetNS(t), 0, 1, Copying{})
	if err != nil {
		t.Fatal(err)
	}
	q := qs[0]
	defer q.Close()
	// Held to what it asks for: a host may have a smaller default.
	if room, err := unix.GetsockoptInt(q.fd, unix.SOL_SOCKET, unix.SO_SNDBUF); err != nil || room < writeBuffer {
		t.Errorf("a write buffer of %d bytes, %v; want %d", room, err, writeBuffer)
	}
	for _, size := range []int{1500, 60_000, 0xffff - nlaHeader} {
		for id := range uint32(2 * BatchSize) {
			q.Verdict(Verdict{ID: ID(id), Bytes: make([]byte, size)})
		}
		if err := q.Flush(); err != nil {
			t.Errorf("%d verdicts with packets of %d bytes: %v", 2*BatchSize, size, err)
		}
	}
}

// TestGSOQueueNumbers checks that runs beside each other have numbers of their own for
// what comes uncut as well, and that one which found the numbers in part taken
// keeps none of them.
func TestGSOQueueNumbers(t *testing.T) {
	ns := kerneltest.NetNS(t)
	how := Copying{Whole: true, SeparateGSO: true}
	open := func(n uint16) []*Queue {
		t.Helper()
		qs, err := Open(ns, 0, n, how)
		if err != nil {
			t.Fatal(err)
		}
		return qs
	}
	one := open(1)
	two := open(2)
	if err := one[0].configure(FirstGSO+5, true); err != nil {
		t.Fatal(err)
	}
	three := open(3) // 61467 and 61468 are free, and 61469 is not
	var got []uint16
	for _, q := range slices.Concat(one, two, three) {
		got = append(got, q.gso-FirstGSO)
		defer q.Close()
	}
	if want := []uint16{0, 1, 2, 6, 7, 8}; !slices.Equal(got, want) {
		t.Errorf("numbers from the first on: %d, want %d", got, want)
	}
	four := open(2)
	defer Close(four)
	if got := four[0].gso - FirstGSO; got != 3 {
		t.Errorf("the numbers between go to nobody: the next two begin with %d, want 3", got)
	}
}

// TestMarksAndLimit checks that a mark arrives behind the packets that were there, and
// before those that were not, and that the kernel lets pass what is beyond a limit, for
// which packets do not count that were received and wait for their verdict.
func TestMarksAndLimit(t *testing.T) {
	ns := kerneltest.NetNS(t)
	minirun.Shell(t, ns, "ip link set lo up")
	qs, err := Open(ns, 0, 1, Copying{})
	if err != nil {
		t.Fatal(err)
	}
	q := qs[0]
	defer q.Close()
	conn := minirun.Conn(t, ns)
	out := minirun.Chain(conn, minirun.Table(conn, "marks"), "out", nftables.ChainHookOutput, -150)
	minirun.Rule(conn, out, minirun.Port(7, true), minirun.ToQueue(q.Number()))
	minirun.Flush(t, conn)
	raw := minirun.NewRaw(t, ns, 0)
	send := func(n int) {
		t.Helper()
		for range n {
			f := packet.Fields{Src: netip.MustParseAddrPort("127.0.0.1:9"), Dst: netip.MustParseAddrPort("127.0.0.1:7"), TTL: 64, Flags: packet.RST}
			if err := raw.Send(f.Append(nil, nil)); err != nil {
				t.Fatal(err)
			}
		}
	}
	var pkts [BatchSize]Packet
	var held []Packet
	receive := func(room int, want Received) {
		t.Helper()
		got, err := q.Receive(pkts[:room], 10*time.Millisecond)
		if got.Waited = false; err != nil || got != want {
			t.Fatalf("received %+v, %v; want %+v", got, err, want)
		}
		held = append(held, pkts[:got.N]...)
	}
	flush := func() {
		t.Helper()
		if err := q.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	send(2)
	q.Mark(41)
	flush()
	send(2)
	receive(3, Received{N: 2, More: true, Mark: 41})
	q.Wake() // is no mark
	receive(4, Received{N: 2})

	q.Limit(3)
	flush()
	send(5)
	receive(BatchSize, Received{N: 3})
	for _, p := range held {
		q.Verdict(Verdict{ID: p.ID, Drop: true})
	}
	q.Limit(Length)
	flush()
	send(BatchSize)
	receive(BatchSize, Received{N: BatchSize, More: true})
}

// TestWakeAfterClose checks that a late wake writes nothing into the file that has
// the queue's descriptor by then.
func TestWakeAfterClose(t *testing.T) {
	qs, err := Open(kerneltest.NetNS(t), 0, 1, Copying{})
	if err != nil {
		t.Fatal(err)
	}
	q := qs[0]
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	q.fd = pipe[1]
	q.Wake()
	if n, err := unix.Read(pipe[0], make([]byte, 64)); err != unix.EAGAIN {
		t.Errorf("a wake after the end wrote %d bytes, %v", n, err)
	}
}

// fullSocket is a socket that takes nothing more, as the kernel's does when it
// has no memory. read makes room, and returns how much was in it.
func fullSocket(t *testing.T) (fd int, read func() int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Close(fds[0])
		unix.Close(fds[1])
	})
	for err == nil {
		_, err = unix.Write(fds[0], []byte{0})
	}
	if !noMemory(err.(syscall.Errno)) {
		t.Fatal(err)
	}
	return fds[0], func() int {
		n, err := unix.Read(fds[1], make([]byte, 1<<10))
		if err != nil {
			return 0
		}
		return n
	}
}

// TestVerdictsAgain checks that verdicts for which the kernel has no memory are
// sent again, and given up, with an error, when it has none for long.
func TestVerdictsAgain(t *testing.T) {
	fd, read := fullSocket(t)
	waited := time.Duration(0)
	q := &Queue{fd: fd, number: 7, pause: func(d time.Duration) { waited += d }}
	q.Verdict(Verdict{ID: 41, Drop: true})
	if err := q.Flush(); err == nil || waited < longestWait || waited > time.Second {
		t.Errorf("%v after %v; want an error after half a second", err, waited)
	}
	q.pause = func(d time.Duration) {
		if d > time.Millisecond {
			read()
		}
	}
	q.Verdict(Verdict{ID: 41, Drop: true})
	if err := q.Flush(); err != nil {
		t.Fatalf("flush: %v", err)
	}
	n := 1
	for n == 1 { // what made it full
		n = read()
	}
	if n == 0 {
		t.Error("the verdict has not arrived")
	}
	q.fd, q.pause = -1, func(time.Duration) { t.Error("it waits for a socket that is closed") }
	q.Verdict(Verdict{ID: 41, Drop: true})
	if err := q.Flush(); err == nil {
		t.Error("no error")
	}
}

func TestMain(m *testing.M) { os.Exit(lab.Main(m.Run)) }
