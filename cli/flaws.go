package cli

import (
	"github.com/faultctl/faultctl/injector"
)

// flaw is something that a run could not judge, follow, change or tell: where it
// is not 0, what the run shows is not the whole of it.
type flaw struct {
	n    uint64
	noun string
	what string // the rest of the sentence
}

func (f flaw) String() string { return plural(f.n, f.noun) + " " + f.what }

// flaws lists those of a run that are not 0. They are said wherever a run is
// summed up.
func flaws(s injector.Snapshot) (all []flaw) {
	for _, f := range []flaw{
		{s.Overruns, "packet", "went by unjudged: the queue was full."},
		{s.Foreign, "packet", "went by unjudged: fragments, or no whole TCP segments."},
		{s.Cut, "packet", "stayed unchanged: with more than 65531 bytes the queue does not hand them over whole (lower the MTU of lo)."},
		{s.Forgotten, "connection", "forgotten early, being more than a million: with their next packet they count as new ones."},
		{s.SetFull, "packet", "found the kernel's idle set full (a million connections): their connections went by this process's own clock."},
		{s.CaptureFull, "packet", "found the kernel's set of captured connections full (a million): of those connections the fault saw a part only."},
		{s.ReleaseFull, "packet", "found the kernel's set of released connections full (a million): those connections went on being handed over, which costs time and nothing else."},
		{s.OwnerFull, "connection", "found the kernel's set of the target's own connections full (a million), and were left alone."},
		{s.Unsent, "packet", "could not be put on the way again: there was no route, or no room; the cause of the first is logged."},
		{s.Lost, "event", "came too fast to be told; the counts include them."},
		{s.Unseen, "packet", "came too fast to be shown."},
	} {
		if f.n > 0 {
			all = append(all, f)
		}
	}
	return all
}

func said(fs []flaw) (all []string) {
	for _, f := range fs {
		all = append(all, f.String())
	}
	return all
}

// flawCounts are the same in the event that sums up a run: two of them always,
// the others where they are not 0.
type flawCounts struct {
	Overruns    uint64 `json:"queue_overruns"`
	Foreign     uint64 `json:"packets_foreign,omitempty"`
	Cut         uint64 `json:"packets_cut,omitempty"`
	Forgotten   uint64 `json:"connections_forgotten,omitempty"`
	SetFull     uint64 `json:"idle_set_full,omitempty"`
	CaptureFull uint64 `json:"captured_set_full,omitempty"`
	ReleaseFull uint64 `json:"released_set_full,omitempty"`
	OwnerFull   uint64 `json:"owned_set_full,omitempty"`
	Unsent      uint64 `json:"packets_unsent,omitempty"`
	Lost        uint64 `json:"events_lost"`
	Unseen      uint64 `json:"packets_unseen,omitempty"`
}

func countFlaws(s injector.Snapshot) flawCounts {
	return flawCounts{
		Overruns: s.Overruns, Foreign: s.Foreign, Cut: s.Cut, Forgotten: s.Forgotten, SetFull: s.SetFull, CaptureFull: s.CaptureFull,
		ReleaseFull: s.ReleaseFull, OwnerFull: s.OwnerFull, Unsent: s.Unsent, Lost: s.Lost, Unseen: s.Unseen,
	}
}
