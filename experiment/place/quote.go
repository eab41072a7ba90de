package place

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Quote makes a word safe to paste into a shell.
func Quote(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:/,-_=%@+"
	if s != "" && strings.Trim(s, plain) == "" {
		return s
	}
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) || r == utf8.RuneError }) {
		return escaped(s)
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// escaped quotes a word with characters that a terminal does not show, as bash, zsh,
// ksh and POSIX.1-2024 read it: $'...'.
func escaped(s string) string {
	var b strings.Builder
	b.WriteString("$'")
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == '\'' || r == '\\':
			b.WriteString("\\" + s[:size])
		case unicode.IsGraphic(r) && r != utf8.RuneError:
			b.WriteString(s[:size])
		default: // octal: what follows cannot be taken for more of it
			for _, c := range []byte(s[:size]) {
				fmt.Fprintf(&b, "\\%03o", c)
			}
		}
		s = s[size:]
	}
	return b.String() + "'"
}
