// Package words reads and writes what people type: counts, durations, and names
// that are nearly right.
package words

import "fmt"

// Plural writes a count with its noun: 1 packet, 2 packets.
func Plural(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
