// Package explain names the cause of what a capture shows: the catalogue of
// faults, read backwards. Each fault predicts what a capture of it must, cannot and
// may show (faults.Kind.Shows); package wire says what this one shows; the rest is
// here. It is pure, and needs no privilege.
package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/faultctl/faultctl/explain/wire"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/clue"
)

// Certainty says how far a name can be trusted.
type Certainty uint8

// The certainties. The zero value is that of a finding without a name.
const (
	Unknown    Certainty = iota // no fault of the catalogue shows this
	CannotTell                  // others, or something ordinary, look the same from where the capture was made
	Likely                      // one fits better than the others
	Sure                        // only one fits
)

func (c Certainty) String() string {
	return [...]string{"unknown", "cannot tell", "likely", "sure"}[min(c, Sure)]
}

// Verdict is which fault of the catalogue a connection's end looks like.
type Verdict struct {
	Cause     string // the fault's name; empty if unknown
	Certainty Certainty
	Twins     []string // the others that look the same from here; only if it cannot be told
	RunnerUp  string   // what fits next best; empty if nothing else fits
	Settles   string   // what would tell them apart, or confirm the name
	For       []clue.Clue
	Against   []clue.Clue // what is missing that makes it likelier
	Repeat    faults.Spec // with which inject brings the same about
}

// String is the verdict in a few words.
func (v Verdict) String() string {
	switch v.Certainty {
	case Unknown:
		return "no fault of the catalogue shows this"
	case CannotTell:
		return "cannot tell: " + strings.Join(append([]string{v.Cause}, v.Twins...), " or ")
	}
	return v.Cause + ", " + v.Certainty.String()
}

// candidate is a prediction that the facts do not contradict.
type candidate struct {
	kind    *faults.Kind
	p       *clue.Prediction
	order   int // in the catalogue
	unknown int // conditions of which the capture tells nothing
	score   int // what makes it likelier
	detail  int // how much it predicts: what says more and still fits comes first
}

// Judge compares the facts with each prediction of the catalogue.
func Judge(f *wire.Facts) Verdict {
	var cs []candidate
	for i := range faults.Catalog {
		k := &faults.Catalog[i]
		var best *candidate
		for j := range k.Shows {
			if c, ok := fits(f, &k.Shows[j]); ok {
				c.kind, c.order = k, i
				if best == nil || compare(c, *best) < 0 {
					best = &c
				}
			}
		}
		if best != nil {
			cs = append(cs, *best)
		}
	}
	if len(cs) == 0 {
		return Verdict{}
	}
	slices.SortStableFunc(cs, compare)
	first := cs[0]
	v := Verdict{Cause: first.kind.Name, Settles: first.p.Settles, Repeat: repeat(first, f)}
	equal := 1
	for equal < len(cs) && cs[equal].score == first.score { // what the capture does not show may well be there
		v.Twins = append(v.Twins, cs[equal].kind.Name)
		equal++
	}
	if equal < len(cs) {
		v.RunnerUp = cs[equal].kind.Name
	}
	switch {
	case equal > 1, first.p.Weak:
		v.Certainty = CannotTell
	case len(cs) == 1 && first.unknown == 0:
		v.Certainty = Sure
	default:
		v.Certainty = Likely
	}
	v.For = (f.Yes & (first.p.Must | first.p.OneOf | first.p.Likely)).Clues()
	v.Against = (f.No & first.p.Likely).Clues()
	return v
}

// fits reports whether the facts do not contradict the prediction.
func fits(f *wire.Facts, p *clue.Prediction) (candidate, bool) {
	known := f.Yes | f.No
	switch {
	case p.Must&f.No != 0, p.Cannot&f.Yes != 0, p.OneOf != 0 && p.OneOf&^f.No == 0:
		return candidate{}, false
	}
	c := candidate{p: p, unknown: (p.Must &^ known).Len(), detail: (p.Must | p.Cannot | p.OneOf | p.Likely).Len()}
	if p.OneOf != 0 && p.OneOf&f.Yes == 0 {
		c.unknown++
	}
	c.score = (p.Likely & f.Yes).Len() - (p.Likely & f.No).Len()
	if p.Rare {
		c.score--
	}
	return c, true
}

func compare(a, b candidate) int {
	return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.unknown, b.unknown), cmp.Compare(b.detail, a.detail), cmp.Compare(a.order, b.order))
}

// repeat is the fault with the knobs that bring the same about.
func repeat(c candidate, f *wire.Facts) faults.Spec {
	idle := f.Idle.Truncate(time.Second)
	if f.Idle < 10*time.Second {
		idle = f.Idle.Truncate(100 * time.Millisecond)
	}
	text := strings.NewReplacer("{idle}", idle.String(), "{above}", fmt.Sprint(f.Above)).Replace(c.p.Repeat)
	s := faults.Spec{Name: c.kind.Name}
	for _, piece := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' }) {
		knob, value, _ := strings.Cut(piece, "=")
		s.Knobs = append(s.Knobs, [2]string{knob, value})
	}
	return s
}
