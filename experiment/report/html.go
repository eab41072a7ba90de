package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

//go:embed report.html
var page string

//go:embed style.css
var style template.CSS

var pageTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"style":   func() template.CSS { return style },
	"rounded": rounded,
	"pieces":  pieces,
	"names":   names,
	"lane":    func(a axis, l lane, open bool) laneView { return laneView{a, l, open} },
	"class":   func(v Verdict) string { return "v-" + strings.ReplaceAll(string(v), " ", "-") },
	"plural": func(n uint64, noun string) string {
		if n == 1 {
			return "1 " + noun
		}
		return fmt.Sprintf("%d %ss", n, noun)
	},
}).Parse(page))

// HTML writes r as one page that needs nothing else: no script, no font, no
// request. It follows the reader's preference for light or dark.
func HTML(w io.Writer, r *Report) error {
	view := struct {
		*Report
		Summary  string
		State    string
		At       string
		Timeline *timelineView
		Cases    []caseView
	}{Report: r, Summary: r.Summary(), State: r.state(), At: r.Start.Format("2006-01-02 15:04:05 MST"), Timeline: r.Timeline.view()}
	for i := range r.Cases {
		view.Cases = append(view.Cases, viewCase(i, &r.Cases[i]))
	}
	return pageTemplate.Execute(w, view)
}

// laneView is a lane with its axis, for the template of one.
type laneView struct {
	Axis axis
	lane
	Open bool // its packets are shown at once
}

// longest is how long a piece of text may be that is never broken.
const longest = 32

// pieces cuts text at its blanks, and long words where they may be broken: at the
// signs in them, or else anywhere.
func pieces(text string) (all []string) {
	for i, word := range strings.Fields(text) {
		if i > 0 {
			all = append(all, " ")
		}
		for len(word) > longest {
			at := strings.LastIndexAny(word[:longest], ",:;/=&?._)|") + 1
			if at == 0 {
				for at = longest; !utf8.RuneStart(word[at]); at-- {
				}
			}
			all, word = append(all, word[:at]), word[at:]
		}
		all = append(all, word)
	}
	return all
}

// names cuts a SPEC where it may be broken: behind the fault, and behind each
// setting.
func names(text string) (all []string) {
	for text != "" {
		at := strings.IndexAny(text, ",: ") + 1
		if at == 0 || at > longest {
			return append(all, pieces(text)...)
		}
		all, text = append(all, text[:at]), text[at:]
	}
	return all
}

// state says what the page is to look like at first sight: yes is green, and only a
// run that asserted something and was not interrupted is.
func (r *Report) state() string {
	asserted := false
	for i := range r.Cases {
		switch v := r.Cases[i].Verdict; {
		case v.Fails() || v == Broken:
			return "no"
		case v == Survived || v == Prevented || v == Passed && !r.Cases[i].Base:
			asserted = true
		}
	}
	switch {
	case r.Interrupted:
		return "cut"
	case !r.Passed():
		return "warn"
	case asserted:
		return "yes"
	}
	return "done"
}

// caseView is a case as the page shows it.
type caseView struct {
	*Case
	ID        string
	Sign, Why string
	Total     FaultStats
	Axis      axis
	Groups    []group
	Lanes     []lane // shown at once
	Folded    []lane // shown if somebody asks for them
	LanesCut  int
	Log       []logLine
}

// logLine is an event that is about no connection.
type logLine struct {
	At, Kind, Text string
}

func viewCase(i int, c *Case) caseView {
	v := caseView{Case: c, ID: fmt.Sprintf("case-%d", i+1), Sign: c.Verdict.Sign(), Why: c.why(), Total: c.total()}
	v.Lanes, v.Groups, v.Axis, v.LanesCut = lanes(c)
	if len(v.Lanes) > openLanes {
		v.Lanes, v.Folded = v.Lanes[:openLanes], v.Lanes[openLanes:]
	}
	for _, e := range c.Events {
		if e.Client != "" {
			continue
		}
		v.Log = append(v.Log, logLine{since(c.Start, e.At), e.Kind, e.Reason})
	}
	return v
}

// since formats a time relative to the start of a case.
func since(start, at time.Time) string {
	return fmt.Sprintf("%+.3f s", at.Sub(start).Seconds())
}

// exactly is since with more digits, for packets.
func exactly(start, at time.Time) string {
	return fmt.Sprintf("%+.6f s", at.Sub(start).Seconds())
}
