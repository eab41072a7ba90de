package text

import (
	"crypto/rand"
	"io"
	"strings"

	"github.com/faultctl/faultctl/internal/words"
)

// order begins what this program itself tells a terminal. Nobody outside of it knows
// the word, so nothing that it prints of others can be taken for an order.
var order = "\x1b" + rand.Text()

// Safe returns a writer to w that escapes everything that a terminal would not show
// as it is (words.Escaped), except for what Paint and ClearLine order. Everything
// that faultctl prints goes through one: names, patterns, paths, and the words of
// files and peers may hold anything. A
// write must not end in the middle of a character.
func Safe(w io.Writer) io.Writer { return safe{w} }

type safe struct{ w io.Writer }

func (s safe) Write(p []byte) (int, error) {
	if _, err := io.WriteString(s.w, Shown(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Shown is what a writer of Safe makes of a text.
func Shown(text string) string {
	parts := strings.Split(text, order)
	for i, part := range parts {
		if i == 0 {
			parts[i] = words.Escaped(part)
			continue
		}
		rest := strings.TrimPrefix(part, clear)
		if rest != part {
			parts[i] = "\r\x1b[K" + words.Escaped(rest)
			continue
		}
		end := strings.IndexByte(part, 'm') + 1
		parts[i] = "\x1b[" + part[:end] + words.Escaped(part[end:])
	}
	return strings.Join(parts, "")
}

// clear is the order of ClearLine.
const clear = "K"
