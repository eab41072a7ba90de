package cli

import (
	"fmt"
	"os"
	"strings"
)

// lastWords keeps the end of what a command prints.
type lastWords struct {
	w    *os.File
	done chan struct{}
	kept []byte
}

// keptOutput is how much of a command's output is kept, and keptLines how many
// lines of that are shown.
const (
	keptOutput = 64 << 10
	keptLines  = 20
)

func listen() (*lastWords, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	t := &lastWords{w: w, done: make(chan struct{})}
	go func() {
		defer close(t.done)
		defer r.Close()
		buf := make([]byte, 32<<10)
		for {
			n, err := r.Read(buf)
			t.kept = append(t.kept, buf[:n]...)
			if len(t.kept) > 2*keptOutput {
				t.kept = append(t.kept[:0], t.kept[len(t.kept)-keptOutput:]...)
			}
			if err != nil {
				return
			}
		}
	}()
	return t, nil
}

// text returns the last lines that were printed. Nobody may hold the other end
// any more: the cage is empty.
func (t *lastWords) text() string {
	t.w.Close()
	<-t.done
	lines := strings.Split(strings.TrimRight(string(t.kept), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-keptLines):], "\n")
}
