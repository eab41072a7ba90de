package words

import (
	"fmt"
	"slices"
	"strings"
)

// DidYouMean returns ", did you mean %q?" with the Nearest name, or nothing.
func DidYouMean(typed string, names []string) string {
	if best := Nearest(typed, names); best != "" {
		return fmt.Sprintf(", did you mean %q?", best)
	}
	return ""
}

// Nearest is the name for what another tool calls what was typed, or else the name
// nearest to it, or one that begins with it, or nothing.
func Nearest(typed string, names []string) string {
	if ours := synonym(typed, names); ours != "" {
		return ours
	}
	best, dist := "", 1+len(typed)/2
	for _, n := range names {
		if d := editDistance(typed, n); d < dist {
			best, dist = n, d
		}
	}
	if i := slices.IndexFunc(names, func(n string) bool { return strings.HasPrefix(n, typed) }); best == "" && len(typed) > 2 && i >= 0 {
		best = names[i] // it was cut short
	}
	return best
}

// editDistance counts the letters to insert, delete, replace or swap with
// their neighbour to get from a to b (optimal string alignment).
func editDistance(a, b string) int {
	prev2, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(row[j-1]+1, prev[j]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], prev2[j-2]+1)
			}
		}
		prev2, prev, row = prev, row, prev2
	}
	return prev[len(b)]
}
