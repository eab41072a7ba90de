package injector

import "golang.org/x/sys/unix"

// useBatchScheduling gives the calling thread the policy SCHED_BATCH (sched(7)): when it
// wakes it does not preempt another thread, but waits for a free processor or for its
// turn. Its share of processor time is unchanged, and if a processor is free it wakes as
// early as before.
//
// A packet wakes the worker while the client or the service is still sending. A
// worker that runs at once finds only that packet, and the sender is preempted for
// each one. A worker that waits finds everything that was sent, and answers it in
// one call. docs/PERFORMANCE.md calls this giving way. If the kernel refuses, only
// this gain is lost.
//
// The nice value is kept, and so is any policy other than SCHED_NORMAL. undo
// restores the thread's policy.
func useBatchScheduling() (undo func() error, err error) {
	was, err := unix.SchedGetAttr(0, 0)
	if err != nil || was.Policy != unix.SCHED_NORMAL {
		return func() error { return nil }, err
	}
	as := func(policy uint32) error {
		return unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: policy, Nice: was.Nice}, 0)
	}
	return func() error { return as(unix.SCHED_NORMAL) }, as(unix.SCHED_BATCH)
}
