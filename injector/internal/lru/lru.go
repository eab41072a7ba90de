// Package lru has a list in order of last use.
package lru

// List is a list of things in the order in which they were last used. The links are
// stored in the things themselves, which are identified by a handle: a pointer, or an
// index into a table. The zero handle means none. A List belongs to one goroutine.
type List[H comparable] struct {
	newest, oldest H
	links          func(H) *Links[H]
}

// Links are the neighbours of a thing in its List. Only the List changes them.
type Links[H comparable] struct{ newer, older H }

// New returns an empty list. links returns the links of a thing, always the same ones.
func New[H comparable](links func(H) *Links[H]) List[H] { return List[H]{links: links} }

// Newest returns what was used last, or the zero handle.
func (l *List[H]) Newest() H { return l.newest }

// Oldest returns what has not been used longest, or the zero handle.
func (l *List[H]) Oldest() H { return l.oldest }

// Newer returns what was used next after h, or the zero handle.
func (l *List[H]) Newer(h H) H { return l.links(h).newer }

// Older returns what was used before h, or the zero handle.
func (l *List[H]) Older(h H) H { return l.links(h).older }

// Add adds a thing that is not in the list, as the newest.
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

// Remove removes a thing that is in the list.
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
