package cli

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/faultctl/faultctl/internal/words"

	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/injector"
)

// matrix tells how a verify command goes on, and in the end what the command
// survives: a line a case, a live line on a terminal, or events.
type matrix struct {
	host   *host
	survey *survey
	paint  paint
	width  int // of the first column
	json   *jsonTeller

	mu     sync.Mutex
	status string // the live line on the screen, if any
	alone  map[string]string
}

func (h *host) matrix(s *survey) *matrix {
	m := &matrix{host: h, survey: s, paint: h.paint(), alone: map[string]string{}}
	if s.base.json {
		m.json = &jsonTeller{w: h.stdout, host: h}
	}
	m.width = runes(noFault)
	for _, t := range s.trials {
		m.width = max(m.width, runes(t.name))
	}
	m.width = min(m.width, 40)
	return m
}

func (m *matrix) started() {
	s := m.survey
	var names []string
	var rules []ruleEvent // of each case, in their order
	for _, t := range s.trials {
		names = append(names, t.name)
		rules = append(rules, ruleOf(s.base.target, t.specs))
	}
	if m.json != nil {
		m.json.line(struct {
			head
			Faults  []string    `json:"faults"`
			Seed    uint64      `json:"seed"`
			Version string      `json:"version"`
			NetNS   string      `json:"netns"`
			Rules   []ruleEvent `json:"rules"`
			Command []string    `json:"command"`
			To      []string    `json:"to"`
			From    []string    `json:"from"`
			Runs    int         `json:"runs"`
			Repeat  string      `json:"repeat"`
		}{m.host.head("started"), names, s.base.cfg.Seed, version(), s.base.netnsName(), rules, s.base.command,
			notNil(s.base.target.to), notNil(s.base.target.from), s.repeat, s.repeats})
		return
	}
	var b strings.Builder
	if s.base.note != "" {
		fmt.Fprintln(&b, wrap(s.base.note, "", m.host.columns()))
	}
	fmt.Fprintf(&b, "verify %s: %s", m.paint.bold(strings.Join(s.base.command, " ")), s.base.scope())
	if !s.picked {
		fmt.Fprintf(&b, ", every %dnd one is struck", verifyEvery)
	}
	fmt.Fprintf(&b, "\neach run may take %s; seed %d\nrepeat it: %s\n\n", s.limitText(), s.base.cfg.Seed, s.repeats)
	m.print(b.String())
}

// print writes lines above the live line.
func (m *matrix) print(text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clear()
	fmt.Fprint(m.host.stdout, text)
}

func (m *matrix) clear() {
	if m.status != "" {
		fmt.Fprint(m.host.stdout, "\r\x1b[K")
		m.status = ""
	}
}

// running shows on a terminal what is under way, in one of several lengths, the
// longest first.
func (m *matrix) running(what ...string) {
	if m.json != nil || !m.host.terminal {
		return
	}
	line := fitting(m.host.screen(), what...)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clear()
	m.status = m.paint.dim(line)
	fmt.Fprint(m.host.stdout, m.status)
}

// result tells what became of a case.
func (m *matrix) result(c report.Case, o outcome, alone string) {
	m.alone[c.Name] = alone
	if m.json != nil {
		m.json.line(struct {
			head
			Case    string `json:"case"`
			Fault   string `json:"fault"`
			Verdict string `json:"verdict"`
			Exit    string `json:"exit"`
			Reason  string `json:"reason,omitempty"`
			Remedy  string `json:"remedy,omitempty"`
			Output  string `json:"output,omitempty"`
			Took    string `json:"duration"`
			Alone   string `json:"repeat,omitempty"`
		}{m.host.head("result"), c.Name, c.Fault, string(c.Verdict), c.Exit, c.Reason, c.Remedy, c.Output, c.Took.Round(time.Millisecond).String(), alone})
		return
	}
	m.print(fmt.Sprintf("  %s  %s  %s\n", pad(c.Name, m.width), m.verdict(c), m.numbers(c, o)))
}

// verdict is a verdict as a word of one width, coloured.
func (m *matrix) verdict(c report.Case) string {
	const width = len("never fired")
	switch c.Verdict {
	case report.Survived, report.Passed:
		return m.paint.green(pad(string(c.Verdict), width))
	case report.Failed:
		return m.paint.red(pad("FAILED", width))
	case report.NeverFired:
		return m.paint.yellow(pad("never fired", width))
	}
	return pad(string(c.Verdict), width)
}

// numbers are the facts behind a verdict.
func (m *matrix) numbers(c report.Case, o outcome) string {
	if c.Verdict == report.Skipped || c.Verdict == report.Broken {
		return c.Reason
	}
	parts := []string{c.Took.Round(10 * time.Millisecond).String()}
	if c.Verdict == report.Failed {
		parts = append(parts, c.Exit)
	}
	if c.Fault != "" && len(o.stats.Rules) > 0 {
		r := o.stats.Rules[0]
		var fired uint64
		for _, f := range r.Faults {
			fired = max(fired, f.Fired)
		}
		parts = append(parts, fmt.Sprintf("%d of %s struck", fired, plural(r.Flows, "connection")))
	}
	return strings.Join(parts, ", ")
}

// ended sums up, and says of each failure what helps.
func (m *matrix) ended(cases []report.Case) {
	survived := count(cases[1:], report.Survived)
	failed, never, skipped := count(cases[1:], report.Failed), count(cases[1:], report.NeverFired), count(cases[1:], report.Skipped)
	if m.json != nil {
		m.json.line(struct {
			head
			Survived   int  `json:"survived"`
			Failed     int  `json:"failed"`
			NeverFired int  `json:"never_fired"`
			Broken     int  `json:"could_not_be_tried"`
			Skipped    int  `json:"skipped"`
			Healthy    bool `json:"healthy"`
		}{m.host.head("verified"), survived, failed, never, count(cases, report.Broken), skipped, cases[0].Verdict == report.Passed})
		return
	}
	var b strings.Builder
	for _, c := range cases {
		m.explain(&b, c)
	}
	fmt.Fprintf(&b, "\n%d survived, %d failed, %d never fired", survived, failed, never)
	if n := count(cases, report.Broken); n > 0 {
		fmt.Fprintf(&b, ", %d could not be tried", n)
	}
	if skipped > 0 {
		fmt.Fprintf(&b, ", %d not tried", skipped)
	}
	fmt.Fprintln(&b, "; everything is as before")
	for _, f := range m.survey.ev.flaws() {
		fmt.Fprintln(&b, m.paint.yellow(wrap(f, "", m.host.columns())))
	}
	m.print(b.String())
}

// explain says what there is to say of a case that is no pass.
func (m *matrix) explain(b *strings.Builder, c report.Case) {
	width := m.host.columns()
	switch c.Verdict {
	case report.Failed:
		fmt.Fprintf(b, "\n%s %s\n", m.paint.red("failed"), m.paint.bold(c.Name))
		fmt.Fprintln(b, wrap(c.Reason, "  ", width))
		if c.Output != "" {
			fmt.Fprintln(b, indent(c.Output, "  | "))
		}
		if c.Remedy != "" {
			fmt.Fprintln(b, hanging("  remedy  ", c.Remedy, width))
		}
		if alone := m.alone[c.Name]; alone != "" {
			fmt.Fprintln(b, "  alone   "+alone)
		}
	case report.NeverFired:
		fmt.Fprintf(b, "\n%s %s\n", m.paint.yellow("never fired"), m.paint.bold(c.Name))
		fmt.Fprintln(b, wrap(c.Reason, "  ", width))
	case report.Survived:
		if c.Reason != "" {
			fmt.Fprintf(b, "\n%s: %s\n", c.Name, c.Reason)
		}
	}
}

// teller tells of one run under faults: nothing in words but for the live line.
func (m *matrix) teller(p *plan, name string, nth int) teller {
	if m.json != nil {
		return &caseTeller{jsonTeller: m.json, name: name}
	}
	t := &lineTeller{m: m, name: name, nth: nth, begun: m.host.now()}
	t.tick(injector.Snapshot{}, 0, 0)
	return t
}

// lineTeller keeps the live line fresh.
type lineTeller struct {
	m     *matrix
	name  string
	nth   int
	begun time.Time
}

func (t *lineTeller) started(*plan)                          {}
func (t *lineTeller) event(injector.Event)                   {}
func (t *lineTeller) target(targetChange)                    {}
func (t *lineTeller) ended(injector.Snapshot, time.Duration) {}
func (t *lineTeller) tick(s injector.Snapshot, _, _ time.Duration) {
	flows, chosen, fired := totals(s)
	since := t.m.host.now().Sub(t.begun).Round(time.Second)
	head := fmt.Sprintf("  %d of %d  %s: ", t.nth+1, len(t.m.survey.trials), t.name)
	tail := fmt.Sprintf("%d chosen, %d fired; %s", chosen, fired, words.ShortDuration(since))
	if limit := t.m.survey.limit; limit > 0 {
		tail += fmt.Sprintf(", at most %s more", words.ShortDuration(max(0, limit-since).Round(time.Second)))
	}
	t.m.running(head+plural(flows, "connection")+", "+tail, head+tail)
}

// caseTeller writes the events of one run.
type caseTeller struct {
	*jsonTeller
	name string
}

func (t *caseTeller) started(p *plan) {
	t.line(struct {
		head
		Case   string `json:"case"`
		Repeat string `json:"repeat"`
	}{t.host.head("case"), t.name, p.repeat})
}
