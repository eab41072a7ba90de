package injector

import (
	"sync"
	"testing"
)

// TestMailbox checks that what several goroutines post is run once and in the order of
// each, by the one that runs it, and that whoever waits for it is told, also when there
// is nobody to run it any more.
func TestMailbox(t *testing.T) {
	var m mailbox
	bell := make(chan struct{}, 1000)
	m.wake = func() { bell <- struct{}{} }
	const each = 50
	var got [2][]int
	var posting sync.WaitGroup
	for k := range got {
		posting.Go(func() {
			for n := range each {
				m.post(func() { got[k] = append(got[k], n) })
			}
		})
	}
	posting.Wait()
	if len(bell) != 2*each {
		t.Errorf("woken %d times, want %d", len(bell), 2*each)
	}
	m.runPosted()
	m.runPosted()
	for k := range got {
		for n, v := range got[k] {
			if len(got[k]) != each || n != v {
				t.Fatalf("run: %v", got[k])
			}
		}
	}
	ran, end, answered := false, make(chan struct{}), make(chan struct{})
	go func() {
		m.ask(end, func() { ran = true })
		close(answered)
	}()
	for !ran {
		<-bell
		m.runPosted()
	}
	<-answered
	close(end)
	m.ask(end, func() { t.Error("run after the end") })
}
