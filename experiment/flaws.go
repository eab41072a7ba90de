package experiment

import (
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/internal/words"
)

// Flaws says in a sentence each what runs with these counters could not judge,
// follow, change or tell: where there is one, what the run shows is not the
// whole of what happened.
func Flaws(s injector.Snapshot) (all []string) {
	for _, f := range []struct {
		n    uint64
		noun string
		what string // the rest of the sentence
	}{
		{s.Overruns, "packet", "passed without being judged: the queue was full."},
		{s.Shed, "packet", "passed without being judged: faultctl did not keep up."},
		{s.Foreign, "packet", "passed without being judged: fragments, or not whole TCP segments."},
		{s.Cut, "packet", "stayed unchanged: with more than 65531 bytes the queue does not hand them over whole (lower the MTU of lo)."},
		{s.Forgotten, "connection", "forgotten early, because there were too many: with their next packet they count as new ones."},
		{s.SettledEarly, "outcome", "settled before all was known: too many connections were struck at once."},
		{s.SetFull, "packet", "found the kernel's idle set full (a million connections): their connections were timed by this process's own clock."},
		{s.CaptureFull, "packet", "found the kernel's set of captured connections full (a million): the fault saw only a part of those connections."},
		{s.ReleaseFull, "packet", "found the kernel's set of released connections full (a million): those connections were still handed over, which costs time and nothing else."},
		{s.OwnerFull, "connection", "found the kernel's set of the target's own connections full (a million), and were left alone."},
		{s.Unsent, "packet", "could not be sent: this host refused them, for reasons that are logged (a firewall on the way out, no route, no address, or a full queue)."},
		{s.Signed, "connection", "left alone: their segments are signed (TCP-MD5 or TCP-AO), and what the fault would have sent is not."},
		{s.Lost, "event", "came too fast to be told; the counts include them."},
		{s.Unseen, "packet", "came too fast to be shown."},
	} {
		if f.n > 0 {
			all = append(all, words.Plural(f.n, f.noun)+" "+f.what)
		}
	}
	return all
}
