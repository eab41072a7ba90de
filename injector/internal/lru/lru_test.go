package lru

import (
	"slices"
	"testing"
)

// TestList checks the order of what was used when, with handles of either kind.
func TestList(t *testing.T) {
	type thing struct {
		name  string
		links Links[*thing]
	}
	l := New(func(h *thing) *Links[*thing] { return &h.links })
	order := func() (names []string) {
		for h := l.Oldest(); h != nil; h = l.Newer(h) {
			names = append(names, h.name)
		}
		return names
	}
	a, b, c := &thing{name: "a"}, &thing{name: "b"}, &thing{name: "c"}
	for _, step := range []struct {
		what string
		do   func()
		want []string
	}{
		{"nothing yet", func() {}, nil},
		{"one", func() { l.Add(a) }, []string{"a"}},
		{"the only one is used", func() { l.Use(a) }, []string{"a"}},
		{"three", func() { l.Add(b); l.Add(c) }, []string{"a", "b", "c"}},
		{"the oldest is used", func() { l.Use(a) }, []string{"b", "c", "a"}},
		{"the middle one is used", func() { l.Use(c) }, []string{"b", "a", "c"}},
		{"the middle one goes", func() { l.Remove(a) }, []string{"b", "c"}},
		{"it is back", func() { l.Add(a) }, []string{"b", "c", "a"}},
		{"both ends go", func() { l.Remove(a); l.Remove(b) }, []string{"c"}},
		{"all", func() { l.Remove(c) }, nil},
	} {
		step.do()
		if got := order(); !slices.Equal(got, step.want) {
			t.Fatalf("%s: %v, want %v", step.what, got, step.want)
		}
	}
	if l.Newest() != nil || l.Oldest() != nil {
		t.Error("an empty list has ends")
	}
	places := make([]Links[uint32], 4)
	byPlace := New(func(i uint32) *Links[uint32] { return &places[i] })
	byPlace.Add(1)
	byPlace.Add(2)
	byPlace.Use(1)
	if byPlace.Oldest() != 2 || byPlace.Newest() != 1 || byPlace.Newer(2) != 1 || byPlace.Newer(1) != 0 {
		t.Errorf("by place: %+v", places)
	}
	if n := testing.AllocsPerRun(100, func() { byPlace.Use(byPlace.Oldest()) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
