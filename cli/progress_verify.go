package cli

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/faultctl/faultctl/cli/internal/text"
	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/experiment/survival"
	"github.com/faultctl/faultctl/internal/words"
)

// verifyProgress says on a terminal what a verify does at the moment, how much is
// left, and for about how long.
type verifyProgress struct {
	now   func() time.Time
	cases int // in all, without the one that has no fault

	mu       sync.Mutex
	runs     []runNow        // the latest of each case that has begun, in the order in which these began
	ended    map[string]bool // cases whose result is known
	took     time.Duration   // of these, and of the run without a fault
	measured int             // how many that is
}

// runNow is a run of the command.
type runNow struct {
	survival.Attempt
	begun time.Time
	first time.Time // when the first run of its case began
}

func newVerifyProgress(now func() time.Time, cases int) *verifyProgress {
	return &verifyProgress{now: now, cases: cases, ended: map[string]bool{}}
}

// running says that a run begins.
func (p *verifyProgress) running(a survival.Attempt) {
	p.mu.Lock()
	defer p.mu.Unlock()
	run := runNow{a, p.now(), p.now()}
	for i, r := range p.runs {
		if r.Name == a.Name {
			run.first = r.first
			p.runs[i] = run
			return
		}
	}
	p.runs = append(p.runs, run)
}

// result says what became of a case.
func (p *verifyProgress) result(c report.Case) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended[c.Name] = true
	if c.Took > 0 {
		p.took, p.measured = p.took+c.Took, p.measured+1
	}
}

// over reports whether a run has ended, which may be some time before the result of
// its case is told.
func over(r runNow) bool {
	select {
	case <-r.Over:
		return true
	default:
		return false
	}
}

// lines are what the live line may say, the longest first; none if nothing runs.
func (p *verifyProgress) lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var active []runNow
	for _, r := range p.runs {
		if !p.ended[r.Name] && !over(r) {
			active = append(active, r)
		}
	}
	if len(active) == 0 {
		return nil
	}
	slices.SortFunc(active, func(a, b runNow) int { return a.Nth - b.Nth })
	since := func(r runNow) string { return words.ShortDuration(p.now().Sub(r.begun).Round(time.Second)) }
	first := active[0]
	if first.Nth == 0 {
		line := fmt.Sprintf("  %s: %s", first.Name, since(first))
		return []string{line + fmt.Sprintf("; %s to try after it", words.Plural(uint64(p.cases), "case")), line}
	}
	left := p.left(active)
	if first.Jobs < 2 {
		flows, chosen, fired := totals(first.Stats())
		head := fmt.Sprintf("  %d of %d  %s: ", first.Nth, p.cases, first.Name)
		counts := fmt.Sprintf("%d chosen, %d fired; %s", chosen, fired, since(first))
		limit := ""
		if first.Limit > 0 {
			limit = fmt.Sprintf(", at most %s more", words.ShortDuration(max(0, first.Limit-p.now().Sub(first.begun)).Round(time.Second)))
		}
		flowing := words.Plural(flows, "connection") + ", "
		return []string{head + flowing + counts + limit + left, head + flowing + counts + left, head + counts + left, head + since(first) + left, head + since(first)}
	}
	var lines []string
	head := fmt.Sprintf("  %d of %d done; ", p.done(), p.cases)
	for shown := len(active); shown >= 0; shown-- {
		line := head
		for i, r := range active[:shown] {
			if i > 0 {
				line += ", "
			}
			line += r.Name + " " + since(r)
		}
		switch more := len(active) - shown; {
		case shown == 0:
			line += fmt.Sprintf("%d running", more)
		case more > 0:
			line += fmt.Sprintf(" and %d more", more)
		}
		if line += left; len(lines) == 0 || len(line) < len(lines[len(lines)-1]) {
			lines = append(lines, line)
		}
	}
	return lines
}

// done is how many cases are over, whether or not their turn to be told has come.
func (p *verifyProgress) done() (n int) {
	for _, r := range p.runs {
		if r.Nth > 0 && (p.ended[r.Name] || over(r)) {
			n++
		}
	}
	return n
}

// left says how many cases wait, and how long all will take, judged by those that
// are over.
func (p *verifyProgress) left(active []runNow) string {
	waiting := p.cases - p.done() - len(active)
	text := fmt.Sprintf("; %d left", waiting)
	if p.measured == 0 {
		return text
	}
	each := p.took / time.Duration(p.measured)
	rest := each * time.Duration(waiting)
	longest := time.Duration(0)
	for _, r := range active {
		mine := max(0, each-p.now().Sub(r.first))
		rest, longest = rest+mine, max(longest, mine)
	}
	rest = max(rest/time.Duration(max(1, active[0].Jobs)), longest).Round(time.Second)
	return text + ", about " + words.ShortDuration(max(rest, time.Second))
}

// live is a line at the bottom of a terminal that is written again and again.
type live struct {
	write  func(string)
	screen func() int
	paint  text.Paint

	mu    sync.Mutex
	shown bool
}

// newLive is a live line on standard output.
func (inv *invocation) newLive() *live {
	return &live{write: func(s string) { fmt.Fprint(inv.stdout, s) }, screen: inv.screen, paint: inv.paint()}
}

// show shows the first of the lines that fits; none erases it.
func (l *live) show(lines ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.erase()
	if len(lines) > 0 {
		l.write(l.paint.Dim(text.Fitting(l.screen(), lines...)))
		l.shown = true
	}
}

// above writes lines that stay.
func (l *live) above(lines string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.erase()
	l.write(lines)
}

func (l *live) erase() {
	if l.shown {
		l.write(text.ClearLine)
		l.shown = false
	}
}
