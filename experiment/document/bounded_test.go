package document

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// shapes are texts of about n bytes that some parsers take quadratic time for, or
// worse.
var shapes = map[string]func(n int) string{
	"brackets":      func(n int) string { return strings.Repeat("[", n) },
	"closed":        func(n int) string { return strings.Repeat("[", n/2) + strings.Repeat("]", n/2) },
	"braces":        func(n int) string { return strings.Repeat("{a: ", n/4) },
	"dashes":        func(n int) string { return strings.Repeat("- ", n/2) },
	"questions":     func(n int) string { return strings.Repeat("? ", n/2) },
	"colons":        func(n int) string { return strings.Repeat(": ", n/2) },
	"tags":          func(n int) string { return strings.Repeat("! ", n/2) },
	"documents":     func(n int) string { return strings.Repeat("---\n", n/4) },
	"comments":      func(n int) string { return strings.Repeat("#\n", n/2) },
	"items":         func(n int) string { return strings.Repeat("- a\n", n/4) },
	"flow items":    func(n int) string { return "[" + strings.Repeat("a,", n/2) + "]" },
	"lines":         func(n int) string { return "a: |\n" + strings.Repeat("  x\n", n/4) },
	"words":         func(n int) string { return "a: " + strings.Repeat("x ", n/2) },
	"quoted":        func(n int) string { return "a: \"" + strings.Repeat(`\n`, n/2) + "\"" },
	"unended quote": func(n int) string { return "a: \"" + strings.Repeat("x", n) },
	"long key":      func(n int) string { return strings.Repeat("x", n) + ": 1" },
	"keys":          func(n int) string { return numbered("k%d: 1\n", n) },
	"anchors":       func(n int) string { return numbered("k%d: &a%[1]d 1\n", n) },
	"aliases":       func(n int) string { return "a: &a [1, 2]\nb: [" + strings.Repeat("*a,", n/3) + "]" },
	"merges":        func(n int) string { return "a: &a {b: 1}\nc:\n" + strings.Repeat("  <<: *a\n", n/9) },
	"deep keys": func(n int) string {
		var b strings.Builder
		for i := 0; b.Len() < n; i++ {
			b.WriteString(strings.Repeat(" ", i) + "a:\n")
		}
		return b.String()
	},
}

func numbered(format string, n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// cost is how much memory reading a text takes in all. Whatever takes time there takes
// memory too, and that is the same on each machine, however busy it is.
func cost(text string) float64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	Read("thing", "f", []byte(text))
	runtime.ReadMemStats(&after)
	return float64(after.TotalAlloc - before.TotalAlloc)
}

// TestReadIsLinear holds that what reading takes grows no faster than the text.
func TestReadIsLinear(t *testing.T) {
	for name, shape := range shapes {
		const n = 20_000
		once, four := cost(shape(n)), cost(shape(4*n))
		if four > 6*once+1<<20 {
			t.Errorf("%s: %.0f bytes for %d, %.0f for four times as many", name, once, n, four)
		}
	}
}

// FuzzRead holds that no text takes more than its length allows, and that problems
// have a place.
func FuzzRead(f *testing.F) {
	for _, shape := range shapes {
		f.Add([]byte(shape(200)))
	}
	f.Add([]byte("name: x\nfaults: [{fault: reset, target: {to: ':80'}}]"))
	f.Add([]byte("{\n\t\"a\": \"\\t\"\n}"))
	f.Add([]byte("a: &a {b: *a}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 1<<16 {
			return
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Read("thing", "f", text)
		runtime.ReadMemStats(&after)
		// Aliases are expanded to mostValues values at most.
		if took := after.TotalAlloc - before.TotalAlloc; took > 200<<20 {
			t.Errorf("%d bytes take %d MB", len(text), took>>20)
		}
		if err != nil {
			for _, p := range err.(Problems) {
				if p.Line < 1 || p.Column < 1 || p.Message == "" {
					t.Errorf("%+v", p)
				}
			}
		}
	})
}

// TestReadLimits holds what is said of a file that holds too much.
func TestReadLimits(t *testing.T) {
	for text, want := range map[string]string{
		strings.Repeat("[", 70) + strings.Repeat("]", 70): "f:1:66: [0]: there are more than 64 lists and mappings in each other",
		"? " + strings.Repeat("x", 2000) + "\n: 1":        "a key is longer than 1024 bytes",
		"a: &a {b: *a}":             "no anchor &a stands before this",
		"a: &a [*a]":                "no anchor &a stands before this",
		"? [a]\n: 1":                "a key must be a word",
		"a: !x 1":                   "a tag (!x) has no meaning here",
		strings.Repeat("[", 20_000): "this is not YAML",
	} {
		if _, err := Read("thing", "f", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
	d, err := Read("thing", "f", []byte("{\n\t\"a\":\t[1, 2.5, true, null, \"x\ty\"]\n}"))
	if got := fmt.Sprint(d.Look([]string{"a"})); err != nil || got != "[1 2.5 true <nil> x\ty]" {
		t.Errorf("JSON with tabs: %s, %v", got, err)
	}
}
