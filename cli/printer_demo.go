package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/faultctl/faultctl/cli/internal/text"
	"github.com/faultctl/faultctl/experiment/demo"
	"github.com/faultctl/faultctl/faults"
)

// timeline is what happened in a demo, in any order: what the applications
// called, and what crossed the wire. print puts the two side by side.
type timeline []entry

// entry is one application call or one packet.
type entry struct {
	At  time.Duration // since the beginning of the demo
	Who string        // who made the call: client, server; empty for a packet

	Call   string // recv(3, 4096)
	Result string // ECONNRESET
	Bad    bool   // the result is an error

	Packet string        // client > server: Flags [P.], seq 1:6, ack 1, length 5
	Mark   mark          // what became of the packet
	Late   time.Duration // how much later than it came a delayed packet left
}

// mark says what faultctl did with a packet.
type mark int

const (
	untouched mark = iota
	injected       // forged: no host of the demo sent it
	dropped        // sent, and never arrived
	rewritten      // arrived as something else than was sent
	delayed        // arrived late
)

func (m mark) String() string {
	return [...]string{"", "INJECTED", "DROPPED", "REWRITTEN", "DELAYED"}[m]
}

// print writes the entries in the order of time: time, the application's
// side, the wire's side. Lines are at most width letters long where that
// leaves each side 30 letters or so; a longer text goes on in its column.
func (t timeline) print(w io.Writer, width int, p text.Paint) {
	const clock = 9
	app := max(34, min(44, (width-clock-3)*45/100))
	wire := max(30, width-clock-app-3)
	sorted := slices.Clone(t)
	slices.SortStableFunc(sorted, func(a, b entry) int { return cmp.Compare(a.At, b.At) })

	fmt.Fprintf(w, "%s%s   %s\n", text.Pad("", clock), p.Bold(text.Pad("what the applications saw", app)), p.Bold("what crossed the wire"))
	fmt.Fprintf(w, "%s%s\n", text.Pad("", clock), p.Dim(strings.Repeat("─", app+1)+"┬"+strings.Repeat("─", wire+1)))
	for _, e := range sorted {
		left, right := e.left(app), e.right(wire)
		for i := range max(len(left), len(right)) {
			at := ""
			if i == 0 {
				at = fmt.Sprintf("%.3f", e.At.Seconds())
			}
			l, r := lineOf(left, i), lineOf(right, i)
			line := p.Dim(text.Pad(at, clock)) + e.paintLeft(p, text.Pad(l, app)) + " " + p.Dim("│") + " " + e.paintRight(p, r)
			fmt.Fprintln(w, strings.TrimRight(line, " "))
		}
	}
}

func lineOf(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return ""
}

// left is the application's side of an entry.
func (e entry) left(width int) []string {
	if e.Call == "" {
		return nil
	}
	call := e.Call
	if e.Result != "" {
		call += " = " + e.Result
	}
	return block(text.Pad(e.Who, 7), call, width)
}

// right is the wire's side of an entry.
func (e entry) right(width int) []string {
	if e.Packet == "" {
		return nil
	}
	lines := block("", e.Packet, width)
	if e.Mark == untouched {
		return lines
	}
	note := "◀ " + e.Mark.String()
	if e.Late > 0 {
		note += " " + e.Late.Round(time.Millisecond).String()
	}
	if last := &lines[len(lines)-1]; utf8.RuneCountInString(*last+" "+note) <= width {
		*last += " " + note
		return lines
	}
	return append(lines, "  "+note)
}

// block breaks a text into lines below each other behind a label.
func block(label, content string, width int) []string {
	return strings.Split(text.Hanging(label, content, width), "\n")
}

func (e entry) paintLeft(p text.Paint, s string) string {
	if e.Bad {
		return p.Red(s)
	}
	return s
}

func (e entry) paintRight(p text.Paint, s string) string {
	switch e.Mark {
	case injected, rewritten:
		return p.Red(s)
	case dropped, delayed:
		return p.Yellow(s)
	}
	return s
}

func (inv *invocation) demoPrologue(kind faults.Kind, s faults.Spec) {
	p := inv.paint()
	fmt.Fprintln(inv.stdout, p.Bold(s.String()))
	fmt.Fprintln(inv.stdout, text.Wrap(kind.Cause, "  ", inv.columns()))
	fmt.Fprintln(inv.stdout)
	fmt.Fprintln(inv.stdout, p.Dim("  client 10.77.1.1 ─── router with faultctl ─── server 10.77.2.1:5432"))
	fmt.Fprintln(inv.stdout)
}

func (inv *invocation) demoEpilogue(kind faults.Kind, s faults.Spec, story *demo.Story) {
	fmt.Fprintln(inv.stdout)
	fmt.Fprintln(inv.stdout, text.Hanging("symptom  ", kind.Symptom, inv.columns()))
	fmt.Fprintln(inv.stdout, text.Hanging("remedy   ", kind.Remedy, inv.columns()))
	line := "sudo faultctl inject " + s.Name
	for _, f := range s.Flags() {
		line += " " + f
	}
	fmt.Fprintln(inv.stdout, text.Hanging("try it   ", line+" --to :5432", inv.columns()))
}

// storyline turns what a demo saw into what is printed.
func storyline(s *demo.Story) timeline {
	var t timeline
	for _, c := range s.Calls {
		t = append(t, entry{At: c.At, Who: c.Who, Call: c.Text, Result: meaning(c), Bad: c.Failed})
	}
	for _, p := range s.Packets {
		t = append(t, entry{At: p.At, Packet: p.Text, Late: p.Late, Mark: [...]mark{
			demo.Passed: untouched, demo.Injected: injected, demo.Dropped: dropped, demo.Rewritten: rewritten, demo.Delayed: delayed,
		}[p.Fate]})
	}
	return t
}

// meaning is a result with what people know the errno by.
func meaning(c demo.Call) string {
	if text, ok := map[string]string{
		"ECONNRESET":   "Connection reset by peer",
		"EPIPE":        "Broken pipe",
		"ECONNREFUSED": "Connection refused",
		"EAGAIN":       "nothing arrived in time",
		"EINPROGRESS":  "no answer in time",
		"EHOSTUNREACH": "No route to host",
		"ENETUNREACH":  "Network is unreachable",
		"ETIMEDOUT":    "Connection timed out",
		"EOF":          "end of stream",
	}[c.Result]; ok {
		return c.Result + " (" + text + ")"
	}
	return c.Result
}
