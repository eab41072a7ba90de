package experiment

import (
	"sync"
	"time"
)

// moment is a time that is set once. c is closed when it is set.
type moment struct {
	once sync.Once
	c    chan struct{}
	at   time.Time
}

func newMoment() *moment { return &moment{c: make(chan struct{})} }

func (m *moment) set(at time.Time) {
	m.once.Do(func() {
		m.at = at
		close(m.c)
	})
}

func (m *moment) isSet() bool {
	select {
	case <-m.c:
		return true
	default:
		return false
	}
}

// when is the time; zero if it is not set.
func (m *moment) when() time.Time {
	if !m.isSet() {
		return time.Time{}
	}
	return m.at
}

// since is the time from the moment until now; 0 if it is not set.
func (m *moment) since(now time.Time) time.Duration {
	if !m.isSet() {
		return 0
	}
	return now.Sub(m.at)
}
