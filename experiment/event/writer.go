package event

import (
	"io"
	"sync"
	"time"
)

// Writer writes events, one whole line in one call of its io.Writer. Several
// goroutines may use it. All writers to one stream must share a Writer: with
// two of them, the guarantee of WriteAfter does not hold.
type Writer struct {
	mu  sync.Mutex
	w   io.Writer
	err error // of the first write that failed
}

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write writes an event that happened at that time. After a failed write it
// writes nothing and returns that write's error, because a line that follows a
// partial line could not be read.
func (w *Writer) Write(at time.Time, e Event) error {
	line := Encode(at, e)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.line(line)
	return w.err
}

// WriteAfter calls do and then writes the event; no other event is written
// meanwhile. If do fails the event is not written. The error is do's; Err has
// that of writing. do must not use the Writer.
func (w *Writer) WriteAfter(do func() error, at time.Time, e Event) error {
	line := Encode(at, e)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := do(); err != nil {
		return err
	}
	w.line(line)
	return nil
}

// WriteCheck writes the result for a file as Write writes an event.
func (w *Writer) WriteCheck(c FileCheck) error {
	line, err := compact(c)
	if err != nil {
		panic(err) // unreachable: it is strings, numbers and lists of them
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.line(append(line, '\n'))
	return w.err
}

// Err is the error of the first write that failed.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *Writer) line(line []byte) {
	if w.err == nil {
		_, w.err = w.w.Write(line)
	}
}
