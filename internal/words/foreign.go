package words

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Foreign is text that somebody else has chosen (a name, a pattern, the words of a
// file) as it may stand in a line: whatever a terminal does not show as itself is
// written as an escape, line breaks and tabs too. Those are control characters,
// terminal sequences with them, characters that turn the direction of text or are not
// seen, and bytes that are no UTF-8.
func Foreign(s string) string { return escape(s, "") }

// Escaped is Foreign, but for line breaks and tabs, which stay as they are. JSON stays
// the same JSON.
func Escaped(s string) string { return escape(s, "\n\t") }

func escape(s, but string) string {
	clean := true
	for i, r := range s {
		if clean = shown(r, but) && (r != utf8.RuneError || s[i] == "\ufffd"[0]); !clean {
			break
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case shown(r, but):
			b.WriteString(s[:size])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r > 0xffff: // as JSON has it
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		s = s[size:]
	}
	return b.String()
}

// shown reports whether a terminal shows a character as itself.
func shown(r rune, but string) bool {
	return unicode.IsGraphic(r) || strings.ContainsRune(but, r)
}
