package cli

import "sync"

// locked is a value that several goroutines use, one at a time.
type locked[T any] struct {
	mu sync.Mutex
	v  T
}

func (l *locked[T]) with(do func(*T)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	do(&l.v)
}
