package injector

import "golang.org/x/sys/unix"

// useBatchScheduling makes the calling thread one that does not push another off its processor
// when it wakes, but waits for a processor to be free or for its turn: SCHED_BATCH,
// sched(7). It keeps its share, and with a processor to spare it wakes as early as
// ever.
//
// A packet wakes its judge in the middle of what the client or the service is
// sending. A judge that runs at once finds that one packet, and the sender is
// switched off and on again for each; one that lets it go on finds all that it sent,
// and answers in one call. That is what docs/PERFORMANCE.md calls giving way. Where
// the kernel refuses, nothing but this is lost.
//
// Its nice value stays, and so does a policy that somebody chose for it. The
// function that is returned makes the thread as it was.
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
