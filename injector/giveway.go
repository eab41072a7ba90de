package injector

import "golang.org/x/sys/unix"

// giveWay makes the calling thread one that does not push another off its processor
// when it wakes, but waits for a processor to be free or for its turn: SCHED_BATCH,
// sched(7). It keeps its share, and with a processor to spare it wakes as early as
// ever.
//
// A packet wakes its judge in the middle of what the client or the service is
// sending. A judge that runs at once finds that one packet, and the sender is
// switched off and on again for each; one that lets it go on finds all that it sent,
// and answers in one call. That is what docs/PERFORMANCE.md calls giving way. Where
// the kernel refuses, nothing but this is lost.
func giveWay() error {
	return unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_BATCH}, 0)
}
