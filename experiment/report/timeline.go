package report

import (
	"fmt"
	"strings"
	"time"
)

// Timeline is what happened when in a run of several faults and probes: a game day.
type Timeline struct {
	Faults []Track  `json:"faults"` // in the order of the file
	Probes []Track  `json:"probes"` // likewise
	Load   []Sample `json:"load"`   // what passed, in order of time
}

// Track is a fault or a probe over time.
type Track struct {
	Name  string `json:"name"`
	Spans []Span `json:"spans"`
}

// Span is a time in which a fault was active, or all tries of a probe came to the
// same.
type Span struct {
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	Note   string    `json:"note,omitempty"`   // what was meant to happen, or why the first try failed
	Tries  int       `json:"tries,omitempty"`  // of a probe
	Failed bool      `json:"failed,omitempty"` // the tries failed
}

// Sample is what had passed up to a moment.
type Sample struct {
	At          time.Time `json:"at"`
	Connections uint64    `json:"connections"` // that matched
	Packets     uint64    `json:"packets"`     // that were judged
}

// maxSpans limits the spans of a track.
const maxSpans = 1000

// Tried adds a try of a probe to its track.
func (t *Track) Tried(from, to time.Time, err error) {
	if n := len(t.Spans); n > 0 && t.Spans[n-1].Failed == (err != nil) || n == maxSpans {
		last := &t.Spans[n-1]
		last.To, last.Tries = to, last.Tries+1
		return
	}
	s := Span{From: from, To: to, Tries: 1, Failed: err != nil}
	if err != nil {
		s.Note = err.Error()
	}
	t.Spans = append(t.Spans, s)
}

// timelineView is a timeline as the page draws it.
type timelineView struct {
	Axis   axis
	Faults []rowView
	Probes []rowView
	Load   []chart
}

// rowView is a track.
type rowView struct {
	Name, Says string
	Bars       []bar
}

// bar is a span.
type bar struct {
	X, Width, Class, Title string
}

// chart is a quantity over time.
type chart struct {
	Name, Most string
	Bars       []column
}

// column is a part of a chart: so much in that time.
type column struct {
	X, Width, Y, Height, Title string
}

// chartHeight is how high the highest column of a chart is.
const chartHeight = 40.0

// clock is a time of day as the page has it.
func clock(t time.Time) string { return t.Format("15:04:05.000") }

// view lays a timeline out; nil if there is nothing to see.
func (t *Timeline) view() *timelineView {
	if t == nil {
		return nil
	}
	var first, last time.Time
	take := func(from, to time.Time) {
		if first.IsZero() || from.Before(first) {
			first = from
		}
		if to.After(last) {
			last = to
		}
	}
	for _, tracks := range [][]Track{t.Faults, t.Probes} {
		for _, track := range tracks {
			for _, s := range track.Spans {
				take(s.From, s.To)
			}
		}
	}
	for _, s := range t.Load {
		take(s.At, s.At)
	}
	if first.IsZero() {
		return nil
	}
	v := &timelineView{Axis: newAxis(first, last)}
	for _, f := range t.Faults {
		v.Faults = append(v.Faults, v.row(f, "fault", faultSays))
	}
	for _, p := range t.Probes {
		v.Probes = append(v.Probes, v.row(p, "", probeSays))
	}
	v.Load = append(v.Load, v.chart("connections", t.Load, func(s Sample) uint64 { return s.Connections }),
		v.chart("packets judged", t.Load, func(s Sample) uint64 { return s.Packets }))
	return v
}

func (v *timelineView) row(t Track, class string, says func(Track) string) rowView {
	r := rowView{Name: t.Name, Says: says(t)}
	for _, s := range t.Spans {
		b := bar{X: v.Axis.place(s.From), Width: v.Axis.length(s.From, s.To), Class: class}
		b.Title = clock(s.From) + " to " + clock(s.To)
		if class == "" {
			b.Class = "ok"
			what := "passed"
			if s.Failed {
				b.Class, what = "bad", "failed"
			}
			b.Title += fmt.Sprintf(": %s, %s", what, tries(s.Tries))
		}
		if s.Note != "" {
			b.Title += ": " + s.Note
		}
		r.Bars = append(r.Bars, b)
	}
	return r
}

func tries(n int) string {
	if n == 1 {
		return "1 try"
	}
	return fmt.Sprintf("%d tries", n)
}

// faultSays says in words what a row of a fault shows.
func faultSays(t Track) string {
	var on time.Duration
	for _, s := range t.Spans {
		on += s.To.Sub(s.From)
	}
	switch len(t.Spans) {
	case 0:
		return "never active"
	case 1:
		return "active for " + rounded(on)
	}
	return fmt.Sprintf("active %d times, %s in all", len(t.Spans), rounded(on))
}

// probeSays says in words what a row of a probe shows.
func probeSays(t Track) string {
	all, failed := 0, 0
	for _, s := range t.Spans {
		all += s.Tries
		if s.Failed {
			failed += s.Tries
		}
	}
	if all == 0 {
		return "never asked"
	}
	if failed == 0 {
		return tries(all) + ", none failed"
	}
	return fmt.Sprintf("%s, %d failed", tries(all), failed)
}

// chart draws how much there was per second between each two samples.
func (v *timelineView) chart(name string, samples []Sample, of func(Sample) uint64) chart {
	c := chart{Name: name}
	var rates []float64
	most := 0.0
	for i := 1; i < len(samples); i++ {
		took := samples[i].At.Sub(samples[i-1].At).Seconds()
		n := float64(of(samples[i])) - float64(of(samples[i-1]))
		rate := 0.0
		if took > 0 && n > 0 {
			rate = n / took
		}
		rates = append(rates, rate)
		most = max(most, rate)
	}
	c.Most = "at most " + perSecond(most)
	for i, rate := range rates {
		if rate == 0 {
			continue
		}
		high := max(1, chartHeight*rate/most)
		from, to := samples[i].At, samples[i+1].At
		c.Bars = append(c.Bars, column{
			X: v.Axis.place(from), Width: v.Axis.length(from, to), Y: fmt.Sprintf("%.1f", chartHeight-high), Height: fmt.Sprintf("%.1f", high),
			Title: clock(from) + " to " + clock(to) + ": " + perSecond(rate),
		})
	}
	return c
}

func perSecond(rate float64) string {
	text := fmt.Sprintf("%.0f", rate)
	if rate < 10 {
		text = strings.TrimSuffix(fmt.Sprintf("%.1f", rate), ".0")
	}
	return text + "/s"
}
