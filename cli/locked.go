package cli

import (
	"math"
	"sync"
)

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

// notNought is a share as a Pick has it, which takes zero for all.
func notNought(share float64) float64 { return max(share, math.SmallestNonzeroFloat64) }
