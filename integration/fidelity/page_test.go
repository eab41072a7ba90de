package fidelity

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/faultctl/faultctl/lab"
	"golang.org/x/sys/unix"
)

const pageHead = `# Fidelity

<!-- Made by make fidelity from what it recorded. Do not edit. -->

Each fault runs beside its genuine cause, on the same kernel and in the same run. In the genuine lane, a real program, kernel
or router causes the failure. In the injected lane, faultctl does, and both programs are healthy. At the ends that are affected,
these are compared:

- the **calls** of the application, with results, errno and approximate time;
- what the end's own **TCP sends and receives**: direction, flags, relative sequence and acknowledgment numbers, payload
  length, window, timestamps and whether they echo the right one, other options, TTL, ToS, DF, and how the IP identification or
  the IPv6 flow label continues;
- what the end's **interface** shows, wherever faultctl is not on the same host.

`

// writePage writes docs/FIDELITY.md with -update, or of it what was played.
func writePage() error {
	const path = "../../docs/FIDELITY.md"
	switch {
	case !*update || len(audit) == 0:
		return nil
	case len(compared) > 0:
		return os.WriteFile(path, []byte(page(compared)), 0o644)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, has := strings.Cut(string(b), "\n## What is said of a fault\n")
	next := "\n## " + causes[0].name + "\n"
	if !has {
		before, rest, _ = strings.Cut(string(b), next)
		rest = next + rest
	}
	_, after, found := strings.Cut(rest, next)
	if !found {
		return fmt.Errorf("%s has no place for the audit: run make fidelity", path)
	}
	return os.WriteFile(path, []byte(before+"\n"+auditSection(audit)+next[1:]+after), 0o644)
}

// page returns the text of docs/FIDELITY.md.
func page(cells []*comparison) string {
	var b strings.Builder
	b.WriteString(pageHead)
	var u unix.Utsname
	unix.Uname(&u)
	fmt.Fprintf(&b, "Recorded on Linux %s. Any number of retransmissions of a segment counts as one line. In the matrix, an equals sign means that\nnothing differs; the numbers and letters beside it are explained below.\n\n", unix.ByteSliceToString(u.Release[:]))
	matrix(&b, cells)
	notes(&b, cells)
	b.WriteString(auditSection(audit))
	for n := range causes {
		traces(&b, &causes[n], cells)
	}
	return b.String()
}

func matrix(b *strings.Builder, cells []*comparison) {
	b.WriteString("| cause |")
	for _, v6 := range []bool{false, true} {
		for _, at := range placements {
			fmt.Fprintf(b, " %s, %s |", family(v6), at)
		}
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", 2*len(placements)) + "\n")
	for n := range causes {
		fmt.Fprintf(b, "| %s |", causes[n].name)
		for _, v6 := range []bool{false, true} {
			for _, at := range placements {
				fmt.Fprintf(b, " %s |", mark(find(cells, &causes[n], v6, at)))
			}
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
}

func find(cells []*comparison, c *cause, v6 bool, at placement) *comparison {
	i := slices.IndexFunc(cells, func(o *comparison) bool { return o.cause == c && o.v6 == v6 && o.at == at })
	if i < 0 {
		return nil
	}
	return cells[i]
}

// mark is what the cell of a comparison in the matrix says.
func mark(c *comparison) string {
	switch {
	case c == nil || c.injected == nil && c.missing == "":
		return "not played"
	case c.missing != "":
		return "–"
	case len(c.differences) > 0:
		return "**differs**"
	}
	m := "="
	for _, n := range c.notes {
		m += fmt.Sprintf(" %d", n)
	}
	for _, t := range c.tells {
		m += " " + string(t)
	}
	return m
}

// notes explains the marks in the matrix.
func notes(b *strings.Builder, cells []*comparison) {
	b.WriteString("## Allowed differences\n\n")
	for n, a := range allowances {
		fmt.Fprintf(b, "%d. %s: %s.\n", n+1, upper(a.what), a.why)
	}
	b.WriteString("\nOn faultctl's own host, the application's TCP sends and receives exactly what it would under the genuine cause. A capture on that host shows more:\n\n")
	for _, t := range sorted([]tell{swallowedOut, swallowedIn, rewrittenIn, sentForOther}) {
		fmt.Fprintf(b, "- **%s**: %s\n", t, tells[t])
	}
	head := "\n## Cells without a genuine cause\n\n"
	for n := range causes {
		for _, at := range placements {
			if c := find(cells, &causes[n], false, at); c != nil && c.missing != "" {
				fmt.Fprintf(b, "%s- %s, %s: %s\n", head, causes[n].name, at, c.missing)
				head = ""
			}
		}
	}
	head = "\n## Cells that are not equal\n\n"
	for _, c := range cells {
		if len(c.differences) > 0 {
			fmt.Fprintf(b, "%s- %s: %s\n", head, c.name(), unfaithful[c.name()])
			head = ""
			for n, d := range c.differences {
				if n == 3 {
					b.WriteString("  - and more\n")
					break
				}
				fmt.Fprintf(b, "  - %s\n", d)
			}
		}
	}
	b.WriteString("\n")
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// traces writes both lanes of a cause side by side, over IPv4 with faultctl on the
// router.
func traces(b *strings.Builder, c *cause, cells []*comparison) {
	fmt.Fprintf(b, "## %s\n\n**Genuine:** %s.\n**Injected:** `%s`.\n\n", c.name, c.genuine, c.fault)
	cell := find(cells, c, false, atRouter)
	if cell == nil || cell.injected == nil {
		return
	}
	for n, g := range cell.genuine {
		i := cell.injected[n]
		fmt.Fprintf(b, "| at the %s, genuine | injected |\n|---|---|\n", g.side)
		for k := range max(len(g.calls), len(i.calls)) {
			fmt.Fprintf(b, "| %s | %s |\n", called(g.calls, k), called(i.calls, k))
		}
		align(g.stack, i.stack, func(x, y *line) {
			fmt.Fprintf(b, "| %s | %s |\n", shown(x), shown(y))
		})
		b.WriteString("\n")
	}
}

func called(calls []lab.Call, n int) string {
	if n >= len(calls) {
		return ""
	}
	after := ""
	if s := coarse(calls[n].Took); s > 0 {
		after = fmt.Sprintf(", after %v", s)
	}
	return fmt.Sprintf("**%s**%s", strings.NewReplacer("|", "\\|").Replace(calls[n].String()), after)
}

// coarse rounds a time for the page to whole seconds, so that each run gives the
// same page. A busy machine makes a wait longer, hardly ever shorter.
func coarse(d time.Duration) time.Duration {
	return (d + 150*time.Millisecond).Truncate(time.Second)
}

func shown(l *line) string {
	if l == nil {
		return ""
	}
	return "`" + l.String() + "`"
}
