package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"
)

//go:embed report.html
var page string

var pageTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"rounded": rounded,
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
		Summary string
		OK      bool
		At      string
		Cases   []caseView
	}{Report: r, Summary: r.Summary(), OK: r.Passed(), At: r.Start.Format("2006-01-02 15:04:05 MST")}
	for i := range r.Cases {
		view.Cases = append(view.Cases, viewCase(i, &r.Cases[i]))
	}
	return pageTemplate.Execute(w, view)
}

// caseView is a case as the page shows it.
type caseView struct {
	*Case
	ID        string
	Sign, Why string
	Total     FaultStats
	Lanes     []lane
	LanesCut  int
	Log       []logLine
}

// logLine is an event that is about no connection.
type logLine struct {
	At, Kind, Text string
}

func viewCase(i int, c *Case) caseView {
	v := caseView{Case: c, ID: fmt.Sprintf("case-%d", i+1), Sign: c.Verdict.Sign(), Why: c.why(), Total: c.total()}
	v.Lanes, v.LanesCut = lanes(c)
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
