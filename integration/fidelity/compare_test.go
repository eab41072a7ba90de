package fidelity

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/faultctl/faultctl/lab"
)

// record is what was recorded of one lane at one end.
type record struct {
	side  side
	own   bool // faultctl would run on this end's own host
	calls []lab.Call
	from  int    // the calls from this index on came after the act
	stack []line // what its TCP sent and received
	wire  []line // what its interfaces showed
}

// difference is one difference between two records.
type difference struct {
	side              side
	where             string // calls, stack or wire
	what              string // a field's name; "only genuine" or "only injected" for a whole segment
	genuine, injected line
	text              string
}

func (d difference) String() string { return fmt.Sprintf("%s, %s: %s", d.side, d.where, d.text) }

// compare lists where the two lanes differ at an end. What the end's TCP sends and
// receives is compared in every placement. What its interfaces show is compared
// where faultctl is not on the same host; on the same host they show what faultctl
// does, which tellsOf lists.
func compare(g, i record) []difference {
	d := compareCalls(g, i)
	d = append(d, compareLines("stack", g.side, g.stack, i.stack)...)
	if !i.own {
		d = append(d, compareLines("wire", g.side, g.wire, i.wire)...)
	}
	return d
}

func compareCalls(g, i record) []difference {
	var out []difference
	for n := range max(len(g.calls), len(i.calls)) {
		a, b := callAt(g.calls, n), callAt(i.calls, n)
		switch {
		case a.String() != b.String():
			out = append(out, difference{side: g.side, where: "calls", what: "result",
				text: fmt.Sprintf("%s; injected: %s", a, b)})
		case !near(a.Took, b.Took):
			out = append(out, difference{side: g.side, where: "calls", what: "time",
				text: fmt.Sprintf("%s after %v; injected: after %v", a, a.Took, b.Took)})
		}
	}
	return out
}

func callAt(calls []lab.Call, n int) lab.Call {
	if n < len(calls) {
		return calls[n]
	}
	return lab.Call{Text: "no call", Result: "-"}
}

// near reports whether two calls took about equally long, with room for a busy
// machine.
func near(a, b time.Duration) bool {
	return (a - b).Abs() < 700*time.Millisecond+min(a, b)/4
}

// compareLines aligns two conversations and lists where they differ.
func compareLines(where string, s side, g, i []line) []difference {
	var out []difference
	align(g, i, func(a, b *line) {
		switch {
		case b == nil:
			out = append(out, difference{s, where, "only genuine", *a, line{}, "missing: " + a.String()})
		case a == nil:
			out = append(out, difference{s, where, "only injected", line{}, *b, "extra: " + b.String()})
		default:
			for _, f := range unequalFields(*a, *b) {
				out = append(out, difference{s, where, f, *a, *b, fmt.Sprintf("%s of %s; injected: %s", f, a, b)})
			}
		}
	})
	return out
}

// unequalFields names the fields in which two lines of one segment differ.
func unequalFields(a, b line) []string {
	var out []string
	for _, f := range []struct {
		name string
		same bool
	}{
		{"window", a.Window == b.Window}, {"timestamps", a.Stamps == b.Stamps}, {"options", a.Options == b.Options},
		{"TTL", a.TTL == b.TTL}, {"ToS", a.TOS == b.TOS}, {"identification", a.ID == b.ID}, {"DF", a.DF == b.DF},
		{"flow label", a.Label == b.Label}, {"ICMP", a.ICMP == b.ICMP},
		{"round trip", a.Soon == b.Soon},
	} {
		if !f.same {
			out = append(out, f.name)
		}
	}
	return out
}

// align walks through both lists along their longest common subsequence.
func align(g, i []line, pair func(a, b *line)) {
	longest := make([][]int, len(g)+1)
	for x := range longest {
		longest[x] = make([]int, len(i)+1)
	}
	for x := len(g) - 1; x >= 0; x-- {
		for y := len(i) - 1; y >= 0; y-- {
			longest[x][y] = max(longest[x+1][y], longest[x][y+1])
			if g[x].key() == i[y].key() {
				longest[x][y] = max(longest[x][y], longest[x+1][y+1]+1)
			}
		}
	}
	x, y := 0, 0
	for x < len(g) || y < len(i) {
		switch {
		case x < len(g) && y < len(i) && g[x].key() == i[y].key() && longest[x][y] == longest[x+1][y+1]+1:
			pair(&g[x], &i[y])
			x, y = x+1, y+1
		case y == len(i) || x < len(g) && longest[x+1][y] >= longest[x][y+1]:
			pair(&g[x], nil)
			x++
		default:
			pair(nil, &i[y])
			y++
		}
	}
}

// tell is a sign of faultctl that only a capture on its own host shows: the
// interface and the TCP behind it do not agree.
type tell string

const (
	swallowedOut tell = "a"
	swallowedIn  tell = "b"
	rewrittenIn  tell = "c"
	sentForOther tell = "d"
)

var tells = map[tell]string{
	swallowedOut: "A segment that the host's own TCP sends and faultctl drops never reaches the interface.",
	swallowedIn:  "An arriving segment is captured before faultctl drops or rewrites it.",
	rewrittenIn:  "The segment that TCP receives was made from another segment after the capture.",
	sentForOther: "A segment that faultctl sends to the other end leaves through this interface.",
}

// tellsOf lists the tells in a record that was taken on faultctl's own host.
func tellsOf(r record) []tell {
	var out []tell
	align(r.stack, r.wire, func(stack, wire *line) {
		switch {
		case wire == nil:
			out = append(out, pick(stack.Way == outward(r.side), swallowedOut, rewrittenIn))
		case stack == nil:
			out = append(out, pick(wire.Way == outward(r.side), sentForOther, swallowedIn))
		}
	})
	return sorted(out)
}

// holds checks the genuine lane against what was measured: each pattern is a list
// of words that a line contains, and the lines come in this order. It returns the
// first pattern that no line fits, or "".
func holds(lines []line, patterns []string, v6 bool) string {
	n := 0
	for _, p := range patterns {
		for n < len(lines) && !fits(lines[n], p, v6) {
			n++
		}
		if n == len(lines) {
			return p
		}
		n++
	}
	return ""
}

func fits(l line, pattern string, v6 bool) bool {
	words := strings.Fields(l.String())
	for _, w := range strings.Fields(pattern) {
		if v6 && (strings.HasPrefix(w, "id=") || w == "DF") || !v6 && strings.HasPrefix(w, "label=") {
			continue
		}
		not := strings.HasPrefix(w, "!")
		if slices.Contains(words, strings.TrimPrefix(w, "!")) == not {
			return false
		}
	}
	return true
}
