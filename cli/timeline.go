package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
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
func (t timeline) print(w io.Writer, width int, p paint) {
	const clock = 9
	app := max(34, min(44, (width-clock-3)*45/100))
	wire := max(30, width-clock-app-3)
	sorted := slices.Clone(t)
	slices.SortStableFunc(sorted, func(a, b entry) int { return cmp.Compare(a.At, b.At) })

	fmt.Fprintf(w, "%s%s   %s\n", pad("", clock), p.bold(pad("what the applications saw", app)), p.bold("what crossed the wire"))
	fmt.Fprintf(w, "%s%s\n", pad("", clock), p.dim(strings.Repeat("─", app+1)+"┬"+strings.Repeat("─", wire+1)))
	for _, e := range sorted {
		left, right := e.left(app), e.right(wire)
		for i := range max(len(left), len(right)) {
			at := ""
			if i == 0 {
				at = fmt.Sprintf("%.3f", e.At.Seconds())
			}
			l, r := lineOf(left, i), lineOf(right, i)
			line := p.dim(pad(at, clock)) + e.paintLeft(p, pad(l, app)) + " " + p.dim("│") + " " + e.paintRight(p, r)
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
	text := e.Call
	if e.Result != "" {
		text += " = " + e.Result
	}
	return block(pad(e.Who, 7), text, width)
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
func block(label, text string, width int) []string {
	return strings.Split(hanging(label, text, width), "\n")
}

func (e entry) paintLeft(p paint, s string) string {
	if e.Bad {
		return p.red(s)
	}
	return s
}

func (e entry) paintRight(p paint, s string) string {
	switch e.Mark {
	case injected, rewritten:
		return p.red(s)
	case dropped, delayed:
		return p.yellow(s)
	}
	return s
}
