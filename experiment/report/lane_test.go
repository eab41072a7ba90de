package report

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestLanes holds that each connection has one timeline, those that were struck
// first, and that there are not more than a page can bear.
func TestLanes(t *testing.T) {
	c := &Case{Start: noon}
	for i := range maxLanes + 5 {
		c.Events = append(c.Events, Event{At: at(i), Kind: "flow", Client: fmt.Sprint("c", i), Server: "s"})
	}
	c.Events = append(c.Events, Event{At: at(500), Kind: "fired", Fault: "reset", Client: "c44", Server: "s", Action: "rst", To: "client", Reason: "reset"})
	for i := range maxMarks + 100 {
		c.Packets = append(c.Packets, Packet{At: at(600 - i%600), Client: "c44", Server: "s", From: "server", Text: "[.]", Fate: "passed"})
	}
	all, gs, on, cut := lanes(c)
	if len(all) != maxLanes || cut != 5 {
		t.Fatalf("%d lanes, %d cut", len(all), cut)
	}
	l := all[0]
	if l.Client != "c44" || !l.Struck || len(l.Marks) != maxMarks {
		t.Errorf("the first lane is of %s, struck %v, with %d marks", l.Client, l.Struck, len(l.Marks))
	}
	if l.From != "12:00:00.044" || l.To != "12:00:00.600" {
		t.Errorf("it goes from %s to %s", l.From, l.To)
	}
	for i, m := range l.Marks {
		if !strings.HasSuffix(m.X, "%") || len(m.X) > len("100.00%") {
			t.Errorf("mark %d is at %s", i, m.X)
		}
	}
	if one := all[1]; len(one.Marks) != 1 || one.Marks[0].X != "4.00%" || one.From != one.To {
		t.Errorf("a lane of one moment: %+v", one)
	}
	if a, b := all[1].Marks[0].X, all[5].Marks[0].X; a == b {
		t.Errorf("what happened at different times is at the same place: %s", a)
	}
	if len(on.Ticks) < 3 || len(on.Ticks) > mostTicks+1 || on.Ticks[0].Clock != "12:00:00.1" {
		t.Errorf("the axis has %+v", on.Ticks)
	}
	if len(gs) != 2 || gs[0].N != maxLanes+4 || gs[0].What != "chosen, and no fault acted" || gs[1].N != 1 || gs[1].What != "reset: rst to client, reset" {
		t.Errorf("groups %+v", gs)
	}
}

// TestAxis holds where an axis has which times of day.
func TestAxis(t *testing.T) {
	day := time.Date(2026, 3, 4, 23, 59, 58, 0, time.FixedZone("", 5*3600+1800))
	for _, tc := range []struct {
		took        time.Duration
		first, last string
		n           int
	}{
		{0, "23:59:58.000", "23:59:58.001", 2},
		{3 * time.Millisecond, "23:59:58.000", "23:59:58.003", 4},
		{700 * time.Millisecond, "23:59:58.0", "23:59:58.7", 8},
		{5 * time.Second, "23:59:58", "00:00:03", 6},
		{time.Minute, "00:00:00", "00:00:50", 6},
		{time.Hour, "00:00", "00:50", 6},
		{30 * time.Hour, "00:00", "00:00", 5},
		{100 * 24 * time.Hour, "Mar 13", "Jun 12", 8},
	} {
		a := newAxis(day, day.Add(tc.took))
		if len(a.Ticks) != tc.n || a.Ticks[0].Clock != tc.first || a.Ticks[len(a.Ticks)-1].Clock != tc.last {
			t.Errorf("%v: %+v", tc.took, a.Ticks)
		}
	}
	a := newAxis(day, day.Add(10*time.Second))
	if a.place(day) != "4.00%" || a.place(day.Add(10*time.Second)) != "96.00%" || a.length(day, day.Add(5*time.Second)) != "46.00%" {
		t.Errorf("%s, %s, %s", a.place(day), a.place(day.Add(10*time.Second)), a.length(day, day.Add(5*time.Second)))
	}
}

// TestTimeline holds how tries of probes add up, and what the page says of tracks.
func TestTimeline(t *testing.T) {
	var p Track
	for i, err := range []error{nil, nil, errors.New("no"), errors.New("another"), nil} {
		p.Tried(at(1000*i), at(1000*i+100), err)
	}
	if len(p.Spans) != 3 || p.Spans[1] != (Span{From: at(2000), To: at(3100), Note: "no", Tries: 2, Failed: true}) {
		t.Errorf("%+v", p.Spans)
	}
	if got := probeSays(p); got != "5 tries, 2 failed" {
		t.Error(got)
	}
	v := (&Timeline{
		Faults: []Track{{Name: "cut", Spans: []Span{{From: at(0), To: at(1000)}, {From: at(2000), To: at(3000)}}}, {Name: "idle"}},
		Probes: []Track{p},
		Load:   []Sample{{At: at(0)}, {At: at(1000), Connections: 20, Packets: 100}, {At: at(2000), Connections: 20, Packets: 100}, {At: at(4000), Connections: 30, Packets: 105}},
	}).view()
	if v.Faults[0].Says != "active 2 times, 2s in all" || v.Faults[1].Says != "never active" || v.Probes[0].Bars[1].Class != "bad" {
		t.Errorf("%+v", v)
	}
	if len(v.Load) != 2 || len(v.Load[0].Bars) != 2 || v.Load[0].Most != "at most 20/s" || v.Load[1].Bars[1].Height != "1.0" || v.Load[1].Bars[1].Title != "12:00:02.000 to 12:00:04.000: 2.5/s" {
		t.Errorf("%+v", v.Load)
	}
	if new(Timeline).view() != nil || (*Timeline)(nil).view() != nil {
		t.Error("there is something to see of nothing")
	}
}

// TestPieces holds where text in tables may be broken.
func TestPieces(t *testing.T) {
	for text, want := range map[string]string{
		"a few words": "a| |few| |words", "": "",
		"https://example.com/a/very/long/path?with=parameters&more": "https://example.com/a/very/long/|path?with=parameters&more",
		strings.Repeat("é", 20):                                     strings.Repeat("é", 16) + "|" + strings.Repeat("é", 4),
	} {
		if got := strings.Join(pieces(text), "|"); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	if got := strings.Join(names("idle-expire:after=2s,then=rst-next (2)"), "|"); got != "idle-expire:|after=2s,|then=rst-next |(2)" {
		t.Error(got)
	}
}

// TestState holds what a page looks like at first sight.
func TestState(t *testing.T) {
	for want, r := range map[string]Report{
		"yes":  {Cases: []Case{{Base: true, Verdict: Passed}, {Verdict: Survived}}},
		"no":   {Interrupted: true, Cases: []Case{{Verdict: Failed}, {Verdict: Survived}}},
		"warn": {Cases: []Case{{Verdict: Unfelt}, {Verdict: Survived}}},
		"done": {Cases: []Case{{Verdict: Done}}},
		"cut":  {Interrupted: true, Cases: []Case{{Base: true, Verdict: Passed}, {Verdict: Survived}, {Verdict: Skipped}}},
	} {
		if got := r.state(); got != want {
			t.Errorf("%+v: %s, want %s", r.Cases, got, want)
		}
	}
}
