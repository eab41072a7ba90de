package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/faultctl/faultctl/cli/internal/text"
	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/evidence"
	"github.com/faultctl/faultctl/experiment/replay"
	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/experiment/survival"
	"github.com/faultctl/faultctl/internal/redact"
	"github.com/faultctl/faultctl/internal/words"
)

// verifyPrinter prints the progress of a verify, and in the end what the command
// survives: one line per case, a live line on a terminal, or events. It is a
// survival.Watcher.
type verifyPrinter struct {
	inv   *invocation
	plan  *survival.Plan
	ev    *evidence.Evidence
	rec   *replay.Recording
	paint text.Paint
	width int // of the first column
	alone map[string]string

	told  int    // how many cases have a result
	skips string // why the last one was skipped, if it was

	live     *live
	progress *verifyProgress
	stop     func() // ends what keeps the live line fresh; nil: nothing does
}

func (inv *invocation) verifyPrinter(p *survival.Plan, ev *evidence.Evidence, rec *replay.Recording) *verifyPrinter {
	m := &verifyPrinter{inv: inv, plan: p, ev: ev, rec: rec, paint: inv.paint(), alone: map[string]string{},
		live:     inv.newLive(),
		progress: newVerifyProgress(inv.sys.Now, len(p.Names()))}
	m.width = text.Width(survival.NoFault)
	for _, name := range p.Names() {
		m.width = max(m.width, text.Width(name))
	}
	m.width = min(m.width, 40)
	return m
}

// Started implements survival.Watcher.
func (m *verifyPrinter) Started(p *survival.Plan) {
	if m.inv.json {
		m.inv.events.Write(m.inv.sys.Now(), p.Started())
		return
	}
	var b strings.Builder
	if p.Base.Note != "" {
		fmt.Fprintln(&b, text.Wrap(p.Base.Note, "", m.inv.columns()))
	}
	line := "verify " + m.paint.Bold(words.Foreign(strings.Join(p.Base.ShownCommand(), " "))) + ": " + p.Base.Scope()
	if !p.Picked {
		line += fmt.Sprintf(", every %dnd one is struck", survival.Every)
	}
	b.WriteString(m.fit(line, "  "))
	fmt.Fprintf(&b, "\ntime limit of each run: %s; seed %d\n%s\n", p.LimitText(), p.Base.Seed(), m.repeat("repeat it: ", p.CommandLine()))
	if redact.In(p.Base.ShownCommand()) {
		fmt.Fprintln(&b, secretsLeftOut)
	}
	fmt.Fprintln(&b)
	m.print(b.String())
}

// Event implements survival.Watcher.
func (m *verifyPrinter) Event(at time.Time, e event.Event) {
	if m.inv.json {
		m.inv.events.Write(at, e)
	}
}

// print writes lines above the live line.
func (m *verifyPrinter) print(text string) { m.live.above(text) }

// Running implements survival.Watcher: it keeps the live line fresh while the
// command runs.
func (m *verifyPrinter) Running(a survival.Attempt) {
	if a.Plan != nil {
		m.rec.Attend(a.Plan)
	}
	if m.inv.json || !m.inv.terminal {
		return
	}
	m.progress.running(a)
	m.live.show(m.progress.lines()...)
	if m.stop != nil {
		return
	}
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-m.inv.sys.After(time.Second):
				m.live.show(m.progress.lines()...)
			case <-over:
				return
			}
		}
	}()
	m.stop = func() { close(over); <-done }
}

// fit and repeat are those of a textPrinter.
func (m *verifyPrinter) fit(line, indent string) string { return m.lines().fit(line, indent) }

func (m *verifyPrinter) repeat(label, command string) string { return m.lines().repeat(label, command) }

func (m *verifyPrinter) lines() *textPrinter { return m.inv.textPrinter(m.inv.stdout) }

// close ends the live line.
func (m *verifyPrinter) close() {
	if m.stop != nil {
		m.stop()
		m.live.show()
		m.stop = nil
	}
}

// Result implements survival.Watcher.
func (m *verifyPrinter) Result(r survival.Result) {
	m.progress.result(r.Case)
	m.alone[r.Name] = r.Repeat
	if m.inv.json {
		m.inv.events.Write(m.inv.sys.Now(), r.Event())
		return
	}
	again := r.Verdict == report.Skipped && r.Reason == m.skips
	if m.skips = ""; r.Verdict == report.Skipped {
		m.skips = r.Reason
	}
	left := len(m.plan.Names()) - m.told
	if !r.Base {
		m.told++
	}
	switch {
	case again: // one line is enough
		return
	case r.Verdict == report.Skipped && !r.Base && left > 1:
		m.print(text.Hanging("  ", fmt.Sprintf("the other %d cases are skipped: %s", left, r.Reason), m.inv.columns()) + "\n")
		return
	}
	m.print(m.fit(fmt.Sprintf("  %s  %s  %s", text.Pad(r.Name, m.width), m.verdict(r.Case), m.numbers(r)), "      ") + "\n")
	if r.Base && r.Verdict == report.Passed && r.Reason != "" {
		m.print(m.paint.Yellow(text.Wrap(r.Reason, "    ", m.inv.columns())) + "\n")
		if r.Output != "" {
			m.print(text.Indent(r.Output, "    | ") + "\n")
		}
	}
	if m.inv.terminal {
		m.live.show(m.progress.lines()...)
	}
}

// verdict is a verdict as a word of one width, coloured.
func (m *verifyPrinter) verdict(c report.Case) string {
	word := text.Pad(verdictWord(c.Verdict), len(report.Unclear))
	switch {
	case c.Verdict == report.Survived, c.Verdict == report.Prevented, c.Verdict == report.Passed:
		return m.paint.Green(word)
	case c.Verdict.Fails():
		return m.paint.Red(word)
	case c.Verdict.Idle():
		return m.paint.Yellow(word)
	}
	return word
}

// verdictWord is a verdict as docs/VERDICTS.md spells it.
func verdictWord(v report.Verdict) string {
	if v == report.Failed {
		return "FAILED"
	}
	return string(v)
}

// numbers are the facts behind a verdict.
func (m *verifyPrinter) numbers(c survival.Result) string {
	if c.Verdict == report.Skipped || c.Verdict == report.Broken {
		return c.Reason
	}
	parts := []string{c.Took.Round(10 * time.Millisecond).String()}
	if c.Verdict.Fails() {
		parts = append(parts, c.Exit)
	}
	if c.Fault != "" && len(c.Stats.Rules) > 0 {
		r := c.Stats.Rules[0]
		var fired uint64
		for _, f := range r.Faults {
			fired = max(fired, experiment.Strikes(f))
		}
		parts = append(parts, fmt.Sprintf("%d of %s struck", fired, words.Plural(r.Flows, "connection")))
	}
	return strings.Join(parts, ", ")
}

// Ended implements survival.Watcher: it sums up, and says of each failure what
// helps.
func (m *verifyPrinter) Ended(cases []report.Case) {
	m.close()
	v := survival.Verified(cases)
	if m.inv.json {
		m.inv.events.Write(m.inv.sys.Now(), v)
		return
	}
	var b strings.Builder
	for _, c := range cases {
		m.explain(&b, c)
	}
	line := fmt.Sprintf("%d survived", v.Survived)
	for _, s := range []struct {
		n    int
		word string
	}{
		{v.Prevented, "prevented"}, {v.Failed, "FAILED"}, {v.Timeout, "timeout"}, {v.NeverFired, "never fired"}, {v.Unaccepted, "not accepted"},
		{v.Unfelt, "unfelt"}, {v.Unknown, "not known"}, {v.Unclear, "not conclusive"}, {v.Broken, "could not be run"}, {v.Skipped, "skipped"},
	} {
		if s.n > 0 {
			line += fmt.Sprintf(", %d %s", s.n, s.word)
		}
	}
	fmt.Fprintf(&b, "\n%s\n", m.fit(line+"; everything is as before", ""))
	for _, f := range m.ev.Flaws() {
		fmt.Fprintln(&b, m.paint.Yellow(text.Wrap(f, "", m.inv.columns())))
	}
	m.print(b.String())
}

// explain says what there is to say of a case that is no pass.
func (m *verifyPrinter) explain(b *strings.Builder, c report.Case) {
	width := m.inv.columns()
	if twice := c.Doubled(); twice != "" {
		defer func() { fmt.Fprintln(b, text.Hanging("  doubled ", twice, width)) }()
	}
	if len(c.Others) > 0 {
		defer func() {
			for _, s := range c.Others {
				fmt.Fprintln(b, m.paint.Yellow(text.Hanging("  others  ", "Something else than the fault struck: "+s, width)))
			}
		}()
	}
	switch {
	case c.Verdict.Fails():
		fmt.Fprintf(b, "\n%s %s\n", m.paint.Red(string(c.Verdict)), m.paint.Bold(c.Name))
		fmt.Fprintln(b, text.Wrap(c.Reason, "  ", width))
		if c.Output != "" {
			for line := range strings.SplitSeq(c.Output, "\n") {
				fmt.Fprintln(b, m.fit("  | "+line, "  |   "))
			}
		}
		for _, s := range c.Connections {
			fmt.Fprintln(b, text.Hanging("  saw     ", s, width))
		}
		if c.Remedy != "" {
			fmt.Fprintln(b, text.Hanging("  remedy  ", c.Remedy, width))
		}
		if alone := m.alone[c.Name]; alone != "" {
			fmt.Fprintln(b, m.repeat("  repeat  ", alone))
		}
	case c.Verdict.Idle():
		fmt.Fprintf(b, "\n%s %s\n", m.paint.Yellow(string(c.Verdict)), m.paint.Bold(c.Name))
		fmt.Fprintln(b, text.Wrap(c.Reason, "  ", width))
	case c.Verdict == report.Prevented:
		fmt.Fprintf(b, "\n%s %s\n", m.paint.Green(string(c.Verdict)), m.paint.Bold(c.Name))
		fmt.Fprintln(b, text.Wrap(c.Reason, "  ", width))
	case c.Verdict == report.Survived && c.Reason != "":
		fmt.Fprintf(b, "\n%s: %s\n", c.Name, c.Reason)
	case c.AnswersLost > 0 || len(c.Others) > 0:
		fmt.Fprintf(b, "\n%s %s\n", string(c.Verdict), m.paint.Bold(c.Name))
	}
}
