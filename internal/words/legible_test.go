package words

import (
	"strings"
	"testing"
)

// TestLegible holds what is kept of a line that was meant for a terminal, or for
// no reader at all.
func TestLegible(t *testing.T) {
	for line, want := range map[string]string{
		"plain, ünïcode\tand tabs":                  "plain, ünïcode\tand tabs",
		"\x1b[31;1mred\x1b[0m and \x1b[?25lhidden":  "red and hidden",
		"\x1b]0;a title\x07text\x1b]8;;x\x1b\\link": "textlink",
		"  1%\r 50%\r100%":                          "100%",
		"windows\r":                                 "windows",
		"\xff\xfe binary \x00\x01\x7f":              "\ufffd binary ",
		"\x1b(Bcharset \x1b7 saved \x1b":            "charset  saved ",
		strings.Repeat("ü", 2000):                   strings.Repeat("ü", LegibleRunes) + " …",
		"bell\a and backspace\b":                    "bell and backspace",
	} {
		if got := Legible(line); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}
