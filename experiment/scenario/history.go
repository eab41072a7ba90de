package scenario

import (
	"context"
	"sync"
	"time"

	"github.com/faultctl/faultctl/experiment/report"
)

// history takes down when faults were active, what probes showed and what passed,
// for the report. A nil history takes down nothing.
type history struct {
	play *player

	mu     sync.Mutex
	active []bool // by entry
	line   report.Timeline
}

func newHistory(pl *player) *history {
	h := &history{play: pl, active: make([]bool, len(pl.entries))}
	for _, e := range pl.entries {
		h.line.Faults = append(h.line.Faults, report.Track{Name: e.Entry.Name})
	}
	for _, p := range pl.probes {
		h.line.Probes = append(h.line.Probes, report.Track{Name: p.Probe.Name})
	}
	return h
}

// begins says that an entry goes to work.
func (h *history) begins(entry int, note string) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	t, now := &h.line.Faults[entry], h.play.sys.Now()
	t.Spans = append(t.Spans, report.Span{From: now, To: now, Note: note})
	h.active[entry] = true
}

// ends says that an entry has been taken out.
func (h *history) ends(entry int) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.active[entry] {
		spans := h.line.Faults[entry].Spans
		spans[len(spans)-1].To, h.active[entry] = h.play.sys.Now(), false
	}
}

// tried says what a try of a probe came to.
func (h *history) tried(probe int, from time.Time, err error) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.line.Probes[probe].Tried(from, h.play.sys.Now(), err)
}

// samples is how often it is looked at what has passed, at most.
const samples = 150

// sample looks at what has passed at intervals until ctx is done.
func (pl *player) sample(ctx context.Context) {
	every := max(250*time.Millisecond, time.Duration(pl.Scenario.Duration)/samples)
	for {
		all := pl.keep.snapshot()
		s := report.Sample{At: pl.sys.Now(), Packets: all.Diverted}
		for _, r := range all.Rules {
			s.Connections += r.Flows
		}
		pl.keep.history.mu.Lock()
		pl.keep.history.line.Load = append(pl.keep.history.line.Load, s)
		pl.keep.history.mu.Unlock()
		if ctx.Err() != nil {
			return
		}
		select {
		case <-pl.sys.After(every):
		case <-ctx.Done(): // once more
		}
	}
}

// timeline is what has been taken down so far.
func (h *history) timeline() *report.Timeline {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := report.Timeline{Load: append([]report.Sample(nil), h.line.Load...)}
	for i, track := range h.line.Faults {
		track.Spans = append([]report.Span(nil), track.Spans...)
		if h.active[i] {
			track.Spans[len(track.Spans)-1].To = h.play.sys.Now()
		}
		t.Faults = append(t.Faults, track)
	}
	for _, track := range h.line.Probes {
		track.Spans = append([]report.Span(nil), track.Spans...)
		t.Probes = append(t.Probes, track)
	}
	return &t
}
