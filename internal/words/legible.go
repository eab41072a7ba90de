package words

import (
	"regexp"
	"strings"
	"unicode"
)

// LegibleRunes is how many characters Legible keeps of a line.
const LegibleRunes = 1000

// sequences are what a terminal takes as orders: colours, movements, titles.
var sequences = regexp.MustCompile("\x1b(?:\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b]*(?:\x07|\x1b\\\\)?|[ -/]*[0-~])")

// Legible is what a line that was meant for a terminal leaves on the screen, as
// text that a report can hold: valid UTF-8 without control characters other than
// tabs. Of a line that was written over, as progress is, it is the last state. A
// line longer than LegibleRunes is cut, and ends with " …".
func Legible(line string) string {
	line = sequences.ReplaceAllString(strings.ToValidUTF8(line, "\ufffd"), "")
	line = strings.TrimRight(line, "\r")
	line = line[strings.LastIndexByte(line, '\r')+1:]
	line = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\t' {
			return -1
		}
		return r
	}, line)
	if letters := []rune(line); len(letters) > LegibleRunes {
		return string(letters[:LegibleRunes]) + " …"
	}
	return line
}
