package report

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

const (
	openLanes = 8  // timelines that a page shows at once; further ones are folded
	maxGroups = 20 // lines that say to how many connections the same happened
)

// numbers are the digits in what is said of a connection.
var numbers = regexp.MustCompile(`[0-9]+(?:\.[0-9]+)?`)

// group is how many connections the same happened to.
type group struct {
	What  string
	N     int
	Since string // when it happened to the first one
}

// groups says to how many of the connections what happened, most often first. It has
// nothing to say of a few, which are all shown.
func groups(all []lane) (gs []group) {
	if len(all) <= openLanes {
		return nil
	}
	index := map[string]int{}
	for _, l := range all {
		what := l.sum()
		kind := numbers.ReplaceAllString(what, "#") // 1.2 ms here and 1.3 ms there are the same
		i, known := index[kind]
		if !known {
			i = len(gs)
			index[kind] = i
			gs = append(gs, group{What: what, Since: clock(l.first)})
		}
		if gs[i].N++; gs[i].What != what {
			gs[i].What = numbers.ReplaceAllString(what, "…")
		}
	}
	slices.SortStableFunc(gs, func(a, b group) int { return cmp.Compare(b.N, a.N) })
	if len(gs) > maxGroups {
		rest := group{What: "other things"}
		for _, g := range gs[maxGroups-1:] {
			rest.N += g.N
		}
		gs = append(gs[:maxGroups-1], rest)
	}
	return gs
}

// sum says in short what happened to a connection, in the same words for all to which
// the same happened.
func (l *lane) sum() string {
	var parts []string
	for _, e := range l.Events {
		text := ""
		switch e.Kind {
		case "fired":
			text = e.Fault + ": " + e.Reason
			if e.Action != "" && e.Action != "hold" {
				text = e.Fault + ": " + e.Action + " to " + e.To + ", " + e.Reason
			}
		case "outcome":
			text = e.Reason
		}
		if text != "" && !slices.Contains(parts, text) {
			parts = append(parts, text)
		}
	}
	if len(parts) == 0 {
		return "chosen, and no fault acted"
	}
	return strings.Join(parts, " → ")
}
