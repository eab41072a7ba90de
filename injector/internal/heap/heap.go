// Package heap has a priority queue that grows without moving its items.
package heap

import "unsafe"

// Item is what a Heap of T needs of *T.
type Item[T any] interface {
	*T
	Before(*T) bool // a strict order: of two equal items neither is before the other
}

// Heap is a binary heap: no item is before its first one. Items are stored in chunks,
// so that it grows without copying them. The zero Heap is empty and ready to use. It
// belongs to one goroutine.
type Heap[T any, P Item[T]] struct {
	chunks [][]T
	n      int
	shift  uint // a chunk has 1<<shift items
}

// chunkBytes is the approximate size of a chunk.
const chunkBytes = 1 << 15

// Len returns how many items there are.
func (h *Heap[T, P]) Len() int { return h.n }

// At returns the item at a position from 0 to Len()-1; the first item is at 0. It is
// valid until the heap changes, and nothing that Before uses may be changed in it.
func (h *Heap[T, P]) At(i int) P { return &h.chunks[i>>h.shift][i&(1<<h.shift-1)] }

// Push adds an item.
func (h *Heap[T, P]) Push(item T) {
	if h.chunks == nil {
		var t T
		for h.shift = 3; unsafe.Sizeof(t)<<(h.shift+1) <= chunkBytes; h.shift++ {
		}
	}
	if h.n>>h.shift == len(h.chunks) {
		h.chunks = append(h.chunks, make([]T, 1<<h.shift))
	}
	h.n++
	*h.At(h.n - 1) = item
	h.up(h.n - 1)
}

// Pop removes the first item and returns it. There must be one.
func (h *Heap[T, P]) Pop() T {
	first := *h.At(0)
	h.Remove(0)
	return first
}

// Remove removes the item at that position.
func (h *Heap[T, P]) Remove(i int) {
	h.n--
	last := h.At(h.n)
	if i != h.n {
		*h.At(i) = *last
	}
	var zero T
	*last = zero // for the garbage collector
	if i == h.n {
		return
	}
	h.up(i)
	h.down(i)
}

func (h *Heap[T, P]) up(i int) {
	for i > 0 {
		item, parent := h.At(i), h.At((i-1)/2)
		if !item.Before((*T)(parent)) {
			return
		}
		*item, *parent = *parent, *item
		i = (i - 1) / 2
	}
}

func (h *Heap[T, P]) down(i int) {
	for {
		child := 2*i + 1
		if child >= h.n {
			return
		}
		least := h.At(child)
		if child+1 < h.n {
			if other := h.At(child + 1); other.Before((*T)(least)) {
				child, least = child+1, other
			}
		}
		item := h.At(i)
		if !least.Before((*T)(item)) {
			return
		}
		*item, *least = *least, *item
		i = child
	}
}
