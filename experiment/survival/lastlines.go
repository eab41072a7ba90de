package survival

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/faultctl/faultctl/internal/words"
)

// Of what a command prints so many of the last bytes are kept, and of these so
// many lines are shown.
const (
	keptBytes = 64 << 10
	keptLines = 20
)

// patience is how long the last output of a command that has ended may take to
// arrive.
const patience = 3 * time.Second

// output keeps the end of what a command prints to w. It must be ended by lines.
type output struct {
	r, w *os.File
	done chan struct{}
	kept []byte
}

func newOutput() (*output, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	o := &output{r: r, w: w, done: make(chan struct{})}
	go o.read()
	return o, nil
}

func (o *output) read() {
	defer close(o.done)
	buf := make([]byte, 32<<10)
	for {
		n, err := o.r.Read(buf)
		o.kept = append(o.kept, buf[:n]...)
		if len(o.kept) > 2*keptBytes {
			o.kept = append(o.kept[:0], o.kept[len(o.kept)-keptBytes:]...)
		}
		if err != nil {
			return
		}
	}
}

// lines returns the last lines that were printed. The cage is empty by then: a
// process that still holds the other end was handed it outside the cage, as by
// systemd-run --pipe, or does not die. It is not waited for.
func (o *output) lines() string {
	o.w.Close()
	select {
	case <-o.done:
	case <-time.After(patience):
	}
	o.r.Close()
	<-o.done
	lines := strings.Split(strings.TrimRight(string(o.kept), "\r\n"), "\n")
	lines = lines[max(0, len(lines)-keptLines):]
	for i := range lines {
		lines[i] = words.Legible(lines[i])
	}
	return strings.Join(lines, "\n")
}
