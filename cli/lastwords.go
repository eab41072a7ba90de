package cli

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"
	"unicode"
)

// lastWords keeps the end of what a command prints.
type lastWords struct {
	r, w *os.File
	done chan struct{}
	kept []byte
}

// keptOutput is how much of a command's output is kept, keptLines how many lines
// of that are shown, and keptLetters how much of each.
const (
	keptOutput  = 64 << 10
	keptLines   = 20
	keptLetters = 1000
)

func listen() (*lastWords, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	t := &lastWords{r: r, w: w, done: make(chan struct{})}
	go func() {
		defer close(t.done)
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

// lastPatience is how long the last words of a command that has ended may take.
const lastPatience = 3 * time.Second

// text returns the last lines that were printed. The cage is empty: whoever still
// holds the other end was handed it outside, as by systemd-run --pipe, or does not
// die, and is not waited for.
func (t *lastWords) text() string {
	t.w.Close()
	select {
	case <-t.done:
	case <-time.After(lastPatience):
	}
	t.r.Close()
	<-t.done
	lines := strings.Split(strings.TrimRight(string(t.kept), "\r\n"), "\n")
	lines = lines[max(0, len(lines)-keptLines):]
	for i := range lines {
		lines[i] = legible(lines[i])
	}
	return strings.Join(lines, "\n")
}

// sequences are the orders that a terminal takes: colours, movements, titles.
var sequences = regexp.MustCompile("\x1b(?:\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b]*(?:\x07|\x1b\\\\)?|[ -/]*[0-~])")

// legible is what a line leaves on a screen, as text that a report may hold: of
// what was written over itself, as progress is, the last.
func legible(line string) string {
	line = sequences.ReplaceAllString(strings.ToValidUTF8(line, "\ufffd"), "")
	line = strings.TrimRight(line, "\r")
	line = line[strings.LastIndexByte(line, '\r')+1:]
	line = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\t' {
			return -1
		}
		return r
	}, line)
	if letters := []rune(line); len(letters) > keptLetters {
		return string(letters[:keptLetters]) + " …"
	}
	return line
}
