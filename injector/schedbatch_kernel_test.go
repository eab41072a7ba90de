package injector

import (
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/kerneltest"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/lab"
	"golang.org/x/sys/unix"
)

// TestBatchScheduling checks that the threads that judge, and no other, let those run on
// that send, and that nothing of that is left in a program when its run is over.
func TestBatchScheduling(t *testing.T) {
	ns := kerneltest.NetNS(t)
	before := batchThreads(t)
	_, stop := startInjector(t, ns, false, Config{
		Queues: 2,
		Rules:  []Rule{{Match: target.Matcher{To: []target.Endpoint{{LowPort: 5432, HighPort: 5432}}}, Faults: fake(faults.Diversion{All: true})}},
	})
	if !lab.Eventually(func() bool { return batchThreads(t) == before+2 }) {
		t.Errorf("%d threads of two workers give way", batchThreads(t)-before)
	}
	stop()
	if n := batchThreads(t); n != before {
		t.Errorf("%d threads still give way after the run", n-before)
	}
}

// TestBatchSchedulingUndone checks that a thread which gives way keeps its nice value, is as
// before when that is undone, and is left alone if its policy is another one.
func TestBatchSchedulingUndone(t *testing.T) {
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
			undo, err := useBatchScheduling()
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
