package injector

import (
	"sync"
	"sync/atomic"
)

// mailbox holds functions that other goroutines want a worker to run between two
// batches of packets.
type mailbox struct {
	wake   func() // wakes a worker that waits for packets
	posted atomic.Bool
	mu     sync.Mutex
	inbox  []func()
}

// post makes the worker run f. Any goroutine may call it.
func (m *mailbox) post(f func()) {
	m.mu.Lock()
	m.inbox = append(m.inbox, f)
	m.mu.Unlock()
	m.posted.Store(true)
	m.wake()
}

// ask makes the worker run f, and waits until f has returned or the worker has ended.
// Any other goroutine may call it.
func (m *mailbox) ask(gone <-chan struct{}, f func()) {
	done := make(chan struct{})
	m.post(func() { f(); close(done) })
	select {
	case <-done:
	case <-gone:
	}
}

// runPosted runs what was posted. Only the worker calls it.
func (m *mailbox) runPosted() {
	if !m.posted.Swap(false) {
		return
	}
	m.mu.Lock()
	fs := m.inbox
	m.inbox = nil
	m.mu.Unlock()
	for _, f := range fs {
		f()
	}
}
