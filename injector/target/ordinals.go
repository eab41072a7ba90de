package target

import "slices"

// Ordinals is a set of ordinals of connections.
type Ordinals struct{ sorted []uint64 }

// NewOrdinals returns the set of these ordinals. An empty one chooses nothing.
func NewOrdinals(list []uint64) *Ordinals {
	o := &Ordinals{slices.Clone(list)}
	slices.Sort(o.sorted)
	return o
}

// Contains reports whether n is in the set.
func (o *Ordinals) Contains(n uint64) bool {
	_, found := slices.BinarySearch(o.sorted, n)
	return found
}
