package survival

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/faultctl/faultctl/internal/redact"
	"github.com/faultctl/faultctl/internal/words"
)

// These limit how many of the last bytes that a command prints are kept, and
// how many lines of them are shown.
const (
	keptBytes = 64 << 10
	keptLines = 20
)

// patience is how long to wait for the last output of a command that has
// ended.
const patience = 3 * time.Second

// output keeps the end of what a command prints to w. The caller must end it by
// calling lines.
type output struct {
	r, w   *os.File
	filter *redact.Filter
	done   chan struct{}
	kept   []byte
}

func newOutput(filter *redact.Filter) (*output, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	o := &output{r: r, w: w, filter: filter, done: make(chan struct{})}
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
// process that still has the other end open got it outside the cage, for
// example from systemd-run --pipe, or cannot be killed. lines does not wait
// for it.
func (o *output) lines() string {
	o.w.Close()
	select {
	case <-o.done:
	case <-time.After(patience):
	}
	o.r.Close()
	<-o.done
	// A secret may lie across lines, or be cut when a line is.
	text := o.filter.Text(string(o.kept))
	lines := strings.Split(strings.TrimRight(text, "\r\n"), "\n")
	lines = lines[max(0, len(lines)-keptLines):]
	for i := range lines {
		lines[i] = words.Legible(lines[i])
	}
	return o.filter.Text(strings.Join(lines, "\n")) // without what colours words
}
