package control

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"

	"github.com/faultctl/faultctl/experiment/event"
)

// kept is how many events of a process are kept for readers.
const kept = 4096

// A line is an event of a run of the process, numbered from 1.
type line struct {
	ordinal uint64
	run     string // its name
	event   event.Event

	once    sync.Once
	encoded []byte // see text
}

// text is the line as docs/EVENTS.md has it, with the name of the run as its
// experiment. It is made once for all readers, and must not be changed.
func (l *line) text() []byte {
	l.once.Do(func() { l.encoded = l.encode() })
	return l.encoded
}

func (l *line) encode() []byte {
	text := bytes.TrimRight(event.Encode(l.event.When(), l.event), "\n")
	name, err := json.Marshal(l.run)
	if err != nil {
		return text
	}
	text = append(bytes.TrimSuffix(text, []byte("}")), `,"experiment":`...)
	return append(append(text, name...), '}')
}

// ring keeps the last events of the process for any number of readers. It never
// waits for a reader.
type ring struct {
	mu    sync.Mutex
	more  chan struct{} // closed when there is another line; nil: nobody waits
	lines []*line       // the last ones
	last  uint64
}

// add adds an event of the run of that name.
func (r *ring) add(name string, e event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	if len(r.lines) == 2*kept {
		r.lines = append(make([]*line, 0, 2*kept), r.lines[kept:]...) // so that those that leave are freed
	}
	r.lines = append(r.lines, &line{ordinal: r.last, run: name, event: e})
	if r.more != nil {
		close(r.more)
		r.more = nil
	}
}

// after returns the lines behind that ordinal, and how many of those are gone. It
// waits until there is one, or ctx is done.
func (r *ring) after(ctx context.Context, ordinal uint64) (lines []*line, lost uint64) {
	for {
		r.mu.Lock()
		first := r.last - uint64(len(r.lines)) // the ordinal before the first one
		if ordinal > r.last {
			ordinal = r.last // it has not come yet
		}
		if ordinal < first {
			lost, ordinal = first-ordinal, first
		}
		lines := append([]*line(nil), r.lines[ordinal-first:]...)
		if r.more == nil {
			r.more = make(chan struct{})
		}
		more := r.more
		r.mu.Unlock()
		if len(lines) > 0 {
			return lines, lost
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil, lost
		}
	}
}
