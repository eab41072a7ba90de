package report

import (
	"fmt"
	"html"
	"io"
	"strings"
	"time"
)

// Markdown writes r as CI summaries show it: the matrix, then what failed, with
// the last lines of its output and the remedy.
func Markdown(w io.Writer, r *Report) error {
	var b strings.Builder
	fmt.Fprintf(&b, "## faultctl: %s\n\n", r.Summary())
	fmt.Fprintf(&b, "%s\n\n", code(r.Command))
	b.WriteString("| | case | verdict | connections chosen | fired | time | why |\n|---|---|---|---:|---:|---:|---|\n")
	for i := range r.Cases {
		c := &r.Cases[i]
		t := c.total()
		chosen, fired := fmt.Sprint(t.Chosen), fmt.Sprint(t.Strikes())
		if len(c.Faults) == 0 {
			chosen, fired = "", ""
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", c.Verdict.Sign(), cell(code(c.Name)), c.Verdict, chosen, fired,
			rounded(c.Took), cell(escape(c.why())))
	}
	for _, f := range r.Flaws {
		fmt.Fprintf(&b, "\n> %s\n", escape(f))
	}
	for i := range r.Cases {
		markdownDetail(&b, &r.Cases[i])
	}
	if r.Late != "" {
		fmt.Fprintf(&b, "\n%s.\n", r.Late)
	}
	fmt.Fprintf(&b, "\n%s, Linux %s, seed %d, exit code %d, %s, %s\n", escape(r.Tool), escape(r.Kernel), r.Seed, r.Code,
		r.Start.UTC().Format(time.RFC3339), rounded(r.Took))
	_, err := io.WriteString(w, b.String())
	return err
}

// markdownDetail says more of a case that speaks against the service.
func markdownDetail(b *strings.Builder, c *Case) {
	if !c.Verdict.Fails() && !c.Verdict.Idle() && c.Verdict != Broken && c.AnswersLost == 0 && len(c.Others) == 0 {
		return
	}
	fmt.Fprintf(b, "\n### %s %s: %s\n\n", c.Verdict.Sign(), code(c.Name), c.Verdict)
	for _, s := range []string{c.why(), c.Doubled(), c.Remedy} {
		if s != "" {
			fmt.Fprintf(b, "%s\n\n", escape(s))
		}
	}
	for _, s := range c.Connections {
		fmt.Fprintf(b, "- Its connections: %s\n", escape(s))
	}
	for _, s := range c.Others {
		fmt.Fprintf(b, "- Struck by something else than a fault of this case: %s\n", escape(s))
	}
	if len(c.Connections)+len(c.Others) > 0 && c.Output != "" {
		b.WriteString("\n")
	}
	if c.Output != "" {
		// A block of HTML ends at an empty line, unless it begins with <pre>
		// (CommonMark 4.6): hence the empty lines around it.
		fmt.Fprintf(b, "<details><summary>last lines of output</summary>\n\n<pre>%s</pre>\n\n</details>\n", html.EscapeString(strings.TrimRight(c.Output, "\n")))
	}
}

// Sign is a verdict at a glance.
func (v Verdict) Sign() string {
	switch v {
	case Survived, Prevented, Passed, Done:
		return "✔"
	case Failed, Timeout:
		return "✘"
	case NeverFired, NotAccepted, Unfelt:
		return "∅"
	case NotKnown, Unclear:
		return "?"
	case Broken:
		return "!"
	}
	return "–"
}

// code is s as code, whatever back quotes it holds (CommonMark 6.1).
func code(s string) string {
	if s == "" {
		return ""
	}
	longest, run := 0, 0
	for _, r := range s {
		if r != '`' {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	fence := strings.Repeat("`", longest+1)
	s = strings.ReplaceAll(s, "\n", " ")
	if longest > 0 {
		s = " " + s + " "
	}
	return fence + s + fence
}

// escape keeps text from being read as Markdown or HTML.
func escape(s string) string {
	return strings.NewReplacer("\\", "\\\\", "`", "\\`", "*", "\\*", "_", "\\_", "[", "\\[", "]", "\\]", "<", "&lt;", ">", "&gt;", "&", "&amp;").Replace(s)
}

// cell keeps a text within its cell of a table.
func cell(s string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ").Replace(s)
}

// rounded writes a duration for people.
func rounded(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
