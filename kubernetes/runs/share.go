package runs

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/faultctl/faultctl/experiment/event"
)

// Share says how many of the pods are struck. The zero Share is all.
type Share struct {
	Count   int     // so many; 0: see Percent
	Percent float64 // this share, rounded up; 0: all
}

// ParseShare reads 1 or 50%.
func ParseShare(text string) (s Share, err error) {
	wrong := event.Usagef("pods", "it is a number of pods from 1 on, or a share of them such as 50%%").WithValue(text)
	if share, is := strings.CutSuffix(text, "%"); is {
		p, err := strconv.ParseFloat(share, 64)
		if err != nil || !(p > 0 && p <= 100) {
			return s, wrong
		}
		return Share{Percent: p}, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return s, wrong
	}
	return Share{Count: n}, nil
}

// of is how many of n pods are struck.
func (s Share) of(n int) int {
	switch {
	case s.Count > 0:
		return min(s.Count, n)
	case s.Percent > 0:
		return int(math.Ceil(float64(n) * s.Percent / 100))
	}
	return n
}

// pick names the pods that are to be struck and are not yet: by lot, which the seed
// decides.
func (s Share) pick(seed uint64, names []string, struck func(string) bool) (more []string) {
	want := s.of(len(names))
	rest := slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		if struck(name) {
			want--
			return true
		}
		return false
	})
	slices.SortFunc(rest, func(a, b string) int {
		if la, lb := SeedOf(seed, a), SeedOf(seed, b); la < lb {
			return -1
		} else if la > lb {
			return 1
		}
		return strings.Compare(a, b)
	})
	return rest[:max(0, min(want, len(rest)))]
}
