package injector

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/lab"
	"golang.org/x/sys/unix"
)

// TestQueuesKeepFlowsTogether holds that with several queues each connection is
// with one worker, both directions: it is counted once and seen whole.
func TestQueuesKeepFlowsTogether(t *testing.T) {
	ns := inKernel(t)
	var mu sync.Mutex
	ordinals := map[uint64]int{}
	ready := make(chan struct{})
	inj, stop := startInjectorWith(t, ns, Config{
		Queues: 4,
		Rules:  []Rule{{Match: target.Matcher{To: []target.Endpoint{{LowPort: 5432, HighPort: 5432}}}, Faults: fake(faults.Diversion{All: true})}},
	}, func(ev Event) {
		mu.Lock()
		defer mu.Unlock()
		switch ev.Kind {
		case Ready:
			close(ready)
		case Chosen:
			ordinals[ev.Ordinal]++
		}
	}, ready)
	const pairs, lines = 16, 10
	for i := range pairs { // each pair of addresses has a hash of its own
		talk(t, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, byte(1 + i)}), 5432), lines)
	}
	other := "[::1]:5432"
	if !lab.IPv6() {
		other = "127.0.1.1:5432"
	}
	talk(t, netip.MustParseAddrPort(other), lines)
	stop()
	s := inj.Stats()
	if s.Rules[0].Chosen != pairs+1 || s.Rules[0].Flows != pairs+1 || s.Overruns != 0 {
		t.Errorf("%+v, want %d connections, each once", s.Rules[0], pairs+1)
	}
	if min := uint64((pairs + 1) * 2 * lines); s.Diverted < min {
		t.Errorf("%d packets judged, want %d at least", s.Diverted, min)
	}
	for n := range uint64(pairs + 1) {
		if ordinals[n] != 1 {
			t.Errorf("ordinal %d was given %d times", n, ordinals[n])
		}
	}
}

// TestGivesWay holds that the threads that judge, and no other, let those run on
// that send, and that nothing of that is left in a program when its run is over.
func TestGivesWay(t *testing.T) {
	ns := inKernel(t)
	before := batchThreads(t)
	ready := make(chan struct{})
	_, stop := startInjectorWith(t, ns, Config{
		Queues: 2,
		Rules:  []Rule{{Match: target.Matcher{To: []target.Endpoint{{LowPort: 5432, HighPort: 5432}}}, Faults: fake(faults.Diversion{All: true})}},
	}, func(ev Event) {
		if ev.Kind == Ready {
			close(ready)
		}
	}, ready)
	if !lab.Eventually(func() bool { return batchThreads(t) == before+2 }) {
		t.Errorf("%d threads of two workers give way", batchThreads(t)-before)
	}
	stop()
	if n := batchThreads(t); n != before {
		t.Errorf("%d threads still give way after the run", n-before)
	}
}

// TestGivesWayAsItIs holds that a thread which gives way keeps its nice value, is as
// before when that is undone, and is left alone if its policy is another one.
func TestGivesWayAsItIs(t *testing.T) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread goes with the goroutine
		for _, was := range []unix.SchedAttr{{Policy: unix.SCHED_NORMAL, Nice: 7}, {Policy: unix.SCHED_IDLE, Nice: 7}} {
			was.Size = unix.SizeofSchedAttr
			if err := unix.SchedSetAttr(0, &was, 0); err != nil {
				t.Errorf("set out: %v", err)
			}
			want := was.Policy
			if want == unix.SCHED_NORMAL {
				want = unix.SCHED_BATCH
			}
			undo, err := giveWay()
			if policy, nice := scheduled(t); err != nil || policy != want || nice != 7 {
				t.Errorf("of policy %d: policy %d and nice %d, %v; want %d and 7", was.Policy, policy, nice, err, want)
			}
			err = undo()
			if policy, nice := scheduled(t); err != nil || policy != was.Policy || nice != 7 {
				t.Errorf("undone: policy %d and nice %d, %v; want %d and 7", policy, nice, err, was.Policy)
			}
		}
	}()
	<-done
}

// scheduled is how the calling thread is.
func scheduled(t *testing.T) (policy uint32, nice int32) {
	t.Helper()
	a, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		t.Error(err)
		return 0, 0
	}
	return a.Policy, a.Nice
}

// batchThreads counts the threads of this program that are scheduled as SCHED_BATCH.
func batchThreads(t *testing.T) (n int) {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		id, err := strconv.Atoi(task.Name())
		if err != nil {
			t.Fatal(err)
		}
		a, err := unix.SchedGetAttr(id, 0)
		if err == nil && a.Policy == unix.SCHED_BATCH { // else it has ended meanwhile
			n++
		}
	}
	return n
}

// TestDeadManWantsAll holds that the timer is set back only after every worker
// has fed it.
func TestDeadManWantsAll(t *testing.T) {
	d, err := newDeadMan(time.Hour, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer d.stop()
	ps := []*portion{{deadMan: d}, {deadMan: d}, {deadMan: d}}
	feed := func(who, at int) string {
		before := d.round.Load()
		ps[who].feed(time.Duration(at) * time.Hour)
		return fmt.Sprint(d.round.Load() - before)
	}
	for i, step := range []struct {
		who, at int
		want    string
	}{{0, 1, "0"}, {0, 2, "0"}, {1, 2, "0"}, {0, 3, "0"}, {1, 3, "0"}, {2, 3, "1"}, {2, 3, "0"}, {1, 4, "0"}, {0, 4, "0"}, {2, 4, "1"}} {
		if got := feed(step.who, step.at); got != step.want {
			t.Errorf("step %d: the timer was set back %s times, want %s", i, got, step.want)
		}
	}
	var left unix.ItimerSpec
	if err := d.left(&left); err != nil || left.Value.Sec < 3000 {
		t.Errorf("the timer has %v s left, %v", left.Value.Sec, err)
	}
}

// left reads how long the timer has to go.
func (d *deadMan) left(spec *unix.ItimerSpec) error {
	_, _, errno := unix.RawSyscall(unix.SYS_TIMER_GETTIME, uintptr(d.id), uintptr(unsafe.Pointer(spec)), 0)
	if errno != 0 {
		return fmt.Errorf("timer_gettime: %w", errno)
	}
	return nil
}
