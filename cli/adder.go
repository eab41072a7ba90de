package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/faultctl/faultctl/internal/words"
)

// What is told of connections one by one, and how often the rest is added up.
const (
	toldSingly  = 10 // connections to which the same happened
	mostKinds   = 200
	addUpEvery  = time.Second
	addUpRarely = time.Minute
)

// adder adds up what happens to many connections: the first few of a kind are told
// one by one, and the others by their number, at intervals that grow.
type adder struct {
	kinds []*kindOfEvent // in the order in which they came
	other int            // events of further kinds
}

// kindOfEvent is what happened to any number of connections.
type kindOfEvent struct {
	word, what string // flow, fired, outcome; and what is said behind the connection
	told       int
	held       int // since it was told last
	since      time.Time
	every      time.Duration
}

// take takes an event to a connection, and reports whether it is to be told by
// itself.
func (a *adder) take(at time.Time, word, what string) bool {
	i := slices.IndexFunc(a.kinds, func(k *kindOfEvent) bool { return k.word == word && k.what == what })
	if i < 0 {
		if len(a.kinds) == mostKinds {
			a.other++
			return false
		}
		a.kinds = append(a.kinds, &kindOfEvent{word: word, what: what, every: addUpEvery})
		i = len(a.kinds) - 1
	}
	k := a.kinds[i]
	if k.told < toldSingly {
		k.told++
		return true
	}
	if k.held == 0 {
		k.since = at
	}
	k.held++
	return false
}

// due are lines of what was added up and is to be told now; all is told at the end.
func (a *adder) due(at time.Time, end bool) (lines []string) {
	for _, k := range a.kinds {
		if k.held == 0 || !end && at.Sub(k.since) < k.every {
			continue
		}
		line := fmt.Sprintf("%-6s %s more", k.word, words.Plural(uint64(k.held), "connection"))
		if k.what != "" {
			line += "  " + strings.TrimSpace(k.what)
		}
		lines = append(lines, line)
		k.held, k.every = 0, min(2*k.every, addUpRarely)
	}
	if end && a.other > 0 {
		lines = append(lines, fmt.Sprintf("and %s of other kinds", words.Plural(uint64(a.other), "event")))
		a.other = 0
	}
	return lines
}
