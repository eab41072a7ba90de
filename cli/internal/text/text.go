// Package text lays text out for a terminal: colours, lines that fit, columns.
package text

import (
	"strings"
	"unicode/utf8"
)

// Paint colours text if it is true. The zero value leaves text plain. Colours are
// seen only behind a writer of Safe.
type Paint bool

func (p Paint) sgr(code, s string) string {
	if !p || s == "" {
		return s
	}
	return order + code + "m" + s + order + "0m"
}

// Bold makes s bold.
func (p Paint) Bold(s string) string { return p.sgr("1", s) }

// Dim makes s faint.
func (p Paint) Dim(s string) string { return p.sgr("2", s) }

// Red makes s red.
func (p Paint) Red(s string) string { return p.sgr("31", s) }

// Green makes s green.
func (p Paint) Green(s string) string { return p.sgr("32", s) }

// Yellow makes s yellow.
func (p Paint) Yellow(s string) string { return p.sgr("33", s) }

// ClearLine moves the cursor to the start of its line and erases the line.
var ClearLine = order + clear

// Width is the number of columns that s needs. Every character counts as one.
func Width(s string) int { return utf8.RuneCountInString(s) }

// Wrap breaks text into lines of at most width columns, each with the indent
// before it, and keeps the line breaks that are there. A word that is wider gets
// a line of its own.
func Wrap(text, indent string, width int) string {
	var lines []string
	for paragraph := range strings.SplitSeq(text, "\n") {
		line := indent
		for _, word := range strings.Fields(paragraph) {
			if line != indent && Width(line)+1+Width(word) > width {
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

// Broken is a line, broken between words where it is wider than a terminal; what
// follows the first break has the indent. Colours take no room, and blanks stay as
// they are. A word that is wider alone gets a line of its own.
func Broken(line, indent string, width int) string {
	if visible(line) <= width {
		return line
	}
	var out strings.Builder
	at := 0
	for word := range strings.SplitAfterSeq(line, " ") {
		wide := visible(strings.TrimRight(word, " "))
		if at > len(indent) && at+wide > width && wide > 0 {
			text := strings.TrimRight(out.String(), " ")
			out.Reset()
			out.WriteString(text + "\n" + indent)
			at = len(indent)
		}
		out.WriteString(word)
		at += visible(word)
	}
	return out.String()
}

// visible is Width without what colours text.
func visible(s string) int {
	for {
		before, rest, found := strings.Cut(s, order)
		if !found {
			return Width(s)
		}
		_, rest, _ = strings.Cut(rest, "m")
		s = before + rest
	}
}

// Shell breaks a command line between its words, so that a shell takes the lines as
// one: each but the last ends with a backslash. What is in quotes stays together.
func Shell(command, indent string, width int) string {
	var lines []string
	line := indent
	for _, word := range shellWords(command) {
		if line != indent && Width(line)+1+Width(word)+2 > width {
			lines = append(lines, line+" \\")
			line = indent + "  "
		} else if line != indent {
			line += " "
		}
		line += word
	}
	return strings.Join(append(lines, line), "\n")
}

// shellWords splits a command line at blanks that are not within quotes.
func shellWords(command string) (all []string) {
	from, quote := 0, byte(0)
	for i := 0; i < len(command); i++ {
		switch c := command[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			} else if c == '\\' && quote == '"' {
				i++
			}
		case c == '\\':
			i++
		case c == '\'' || c == '"':
			quote = c
		case c == ' ':
			all, from = append(all, command[from:i]), i+1
		}
	}
	return append(all, command[from:])
}

// Hanging wraps text behind a label: the first line follows the label, the
// others are indented by its width.
func Hanging(label, text string, width int) string {
	wrapped := Wrap(text, strings.Repeat(" ", Width(label)), width)
	return label + strings.TrimLeft(wrapped, " ")
}

// Pad fills s with blanks up to width columns.
func Pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-Width(s)))
}

// Indent puts by before each line of text.
func Indent(text, by string) string {
	return by + strings.ReplaceAll(text, "\n", "\n"+by)
}

// Sentence gives s a capital letter and a full stop.
func Sentence(s string) string {
	s = strings.ToUpper(s[:min(1, len(s))]) + s[min(1, len(s)):]
	if !strings.HasSuffix(s, ".") {
		s += "."
	}
	return s
}

// Fitting returns the first of the lines that fits on a terminal of that width,
// or the beginning of the last one: a line that wraps could not be erased.
func Fitting(width int, lines ...string) string {
	most := max(width-1, 0)
	for _, l := range lines {
		if Width(l) <= most {
			return l
		}
	}
	return string([]rune(lines[len(lines)-1])[:most])
}

// Cut is the beginning of a line that fits on a terminal of that width, with … where
// it was cut.
func Cut(line string, width int) string {
	if Width(line) <= width || width < 1 {
		return line
	}
	return string([]rune(line)[:width-1]) + "…"
}
