// Package lru has the list of what was used when, newest first.
package lru

// List is a list of things by when they were last used. Its links lie in the things
// themselves, which are known by a handle: a pointer, or a place in a table. The zero
// handle stands for none. A List belongs to one goroutine.
type List[H comparable] struct {
	newest, oldest H
	links          func(H) *Links[H]
}

// Links are the neighbours of a thing in its List. Only the List changes them.
type Links[H comparable] struct{ newer, older H }

// New makes an empty list. links finds the links of a thing; it must always find the
// same ones.
func New[H comparable](links func(H) *Links[H]) List[H] { return List[H]{links: links} }

// Newest returns what was used last, or the zero handle.
func (l *List[H]) Newest() H { return l.newest }

// Oldest returns what was not used for the longest, or the zero handle.
func (l *List[H]) Oldest() H { return l.oldest }

// Newer returns what was used next after h, or the zero handle.
func (l *List[H]) Newer(h H) H { return l.links(h).newer }

// Add puts in a thing that is not in the list, as the newest.
func (l *List[H]) Add(h H) {
	var none H
	*l.links(h) = Links[H]{older: l.newest}
	if l.newest != none {
		l.links(l.newest).newer = h
	} else {
		l.oldest = h
	}
	l.newest = h
}

// Remove takes a thing out that is in the list.
func (l *List[H]) Remove(h H) {
	var none H
	at := l.links(h)
	if at.newer != none {
		l.links(at.newer).older = at.older
	} else {
		l.newest = at.older
	}
	if at.older != none {
		l.links(at.older).newer = at.newer
	} else {
		l.oldest = at.newer
	}
	*at = Links[H]{}
}

// Use makes a thing in the list the newest.
func (l *List[H]) Use(h H) {
	if l.newest == h {
		return
	}
	l.Remove(h)
	l.Add(h)
}
