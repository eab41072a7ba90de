package cli

import "strings"

// paint colours text where that is wanted. The zero value leaves it plain.
type paint bool

// paint follows NO_COLOR (no-color.org) and colours on a terminal only.
func (h *host) paint() paint { return paint(h.terminal && h.sys.Getenv("NO_COLOR") == "") }

func (p paint) sgr(code, s string) string {
	if !p || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p paint) bold(s string) string   { return p.sgr("1", s) }
func (p paint) dim(s string) string    { return p.sgr("2", s) }
func (p paint) red(s string) string    { return p.sgr("31", s) }
func (p paint) green(s string) string  { return p.sgr("32", s) }
func (p paint) yellow(s string) string { return p.sgr("33", s) }

// defaultWidth is that of text which is printed to no terminal.
const defaultWidth = 92

// columns is how wide text may be: as wide as the terminal, within reason.
func (h *host) columns() int { return min(max(h.width, 60), 100) }

// wrap breaks text into lines of at most width letters, each with the indent
// before it, and keeps the line breaks that it has.
func wrap(text, indent string, width int) string {
	var lines []string
	for _, paragraph := range strings.Split(text, "\n") {
		line := indent
		for _, word := range strings.Fields(paragraph) {
			if line != indent && runes(line)+1+runes(word) > width {
				lines = append(lines, line)
				line = indent
			}
			if line != indent {
				line += " "
			}
			line += word
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func runes(s string) int { return len([]rune(s)) }

// pad fills s up to width.
func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-runes(s)))
}
