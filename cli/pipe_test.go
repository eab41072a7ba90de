package cli

import (
	"errors"
	"io"
	"os"
	"testing"
	"time"
)

// TestUnreadPipe holds that a reader which pauses loses nothing while there is work to do,
// and that one which has stopped does not keep the process after that.
func TestUnreadPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	out, p := patient(w)
	if p == nil {
		t.Fatal("it is no pipe")
	}
	more := make([]byte, 1<<20) // more than a pipe holds
	wrote := make(chan error, 1)
	write := func() { _, err := out.Write(more); wrote <- err }
	go write()
	if _, err := io.ReadFull(r, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-wrote:
		t.Fatalf("a full pipe: %v", err)
	case <-time.After(100 * time.Millisecond): // it waits for the reader
	}
	if _, err := io.ReadFull(r, make([]byte, len(more)-100)); err != nil {
		t.Fatal(err)
	}
	if err := <-wrote; err != nil {
		t.Errorf("a reader that paused: %v", err)
	}
	go write()
	p.finish()
	if err := <-wrote; !errors.Is(err, errUnread) {
		t.Errorf("a reader that has stopped: %v", err)
	}
	began := time.Now()
	if _, err := out.Write([]byte("more")); !errors.Is(err, errUnread) || time.Since(began) >= unreadFor {
		t.Errorf("after that: %v in %v", err, time.Since(began))
	}
	if _, p := patient(io.Discard); p != nil {
		t.Error("what is no pipe is taken for one")
	}
}
