package heap

import (
	"math/rand/v2"
	"slices"
	"testing"
)

type item struct {
	at, order int
	_         [10]uint64 // so that a few chunks are filled
}

func (i *item) Before(o *item) bool { return i.at < o.at || i.at == o.at && i.order < o.order }

// TestHeap checks that items come out in their order, whichever are taken out of the
// middle meanwhile, and that what is alike comes as it went in.
func TestHeap(t *testing.T) {
	var h Heap[item, *item]
	rng := rand.New(rand.NewPCG(1, 2))
	var want []item
	add := func() {
		it := item{at: rng.IntN(500), order: len(want)}
		h.Push(it)
		want = append(want, it)
	}
	for range 2000 {
		add()
	}
	for range 500 {
		k := rng.IntN(h.Len())
		gone := *h.At(k)
		h.Remove(k)
		want = slices.DeleteFunc(want, func(i item) bool { return i == gone })
	}
	slices.SortFunc(want, func(a, b item) int {
		if a.Before(&b) {
			return -1
		}
		return 1
	})
	for n, w := range want {
		if first := *h.At(0); first != w {
			t.Fatalf("item %d is first as %v, want %v", n, first, w)
		}
		if got := h.Pop(); got != w {
			t.Fatalf("item %d came out as %v, want %v", n, got, w)
		}
	}
	if h.Len() != 0 {
		t.Errorf("%d items are left", h.Len())
	}
}

// TestHeapAllocatesNothing checks it once there is room.
func TestHeapAllocatesNothing(t *testing.T) {
	var h Heap[item, *item]
	for i := range 1000 {
		h.Push(item{at: i})
	}
	if n := testing.AllocsPerRun(100, func() { h.Push(h.Pop()) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestHeapForgets checks that an item that is gone keeps nothing in memory.
func TestHeapForgets(t *testing.T) {
	var h Heap[pointing, *pointing]
	h.Push(pointing{1, new(int)})
	h.Push(pointing{2, new(int)})
	h.Pop()
	h.Pop()
	for _, p := range h.chunks[0] {
		if p.to != nil {
			t.Error("what was taken out is still pointed to")
		}
	}
}

type pointing struct {
	at int
	to *int
}

func (p *pointing) Before(o *pointing) bool { return p.at < o.at }
