package trace

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Run plays every trace that the pattern matches, over IPv4 and over IPv6, and
// compares what became of its segments with what the file says. With update it
// writes what it found over IPv4 into the file instead, to be read and checked
// in: a golden file is only as good as the eye that saw it.
func Run(t *testing.T, pattern string, update bool) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no traces %s: %v", pattern, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".trace"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			families := []bool{false, true}
			if strings.Contains(string(want), "\nIPv4 only\n") {
				families = families[:1]
			}
			for _, v6 := range families {
				got, err := Play(string(want), v6)
				if err != nil {
					t.Fatal(err)
				}
				if update && !v6 {
					if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
					want = []byte(got)
				}
				compare(t, family(string(want), v6), got)
			}
		})
	}
}

var onlyIPv4 = regexp.MustCompile(` id \d+( DF)?`)

// family takes from a trace what IPv6 does not have.
func family(trace string, v6 bool) string {
	if !v6 {
		return trace
	}
	lines := strings.Split(trace, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, "    ") {
			lines[i] = onlyIPv4.ReplaceAllString(l, "")
		}
	}
	return strings.Join(lines, "\n")
}

// compare reports the first line that differs, with what led to it.
func compare(t *testing.T, want, got string) {
	t.Helper()
	if want == got {
		return
	}
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		if i < len(w) && i < len(g) && w[i] == g[i] {
			continue
		}
		lines := strings.Join(g[max(0, i-6):min(len(g), i+1)], "\n")
		expected := "the end"
		if i < len(w) {
			expected = w[i]
		}
		t.Fatalf("line %d is not\n%s\n\nbut, after what came before:\n%s", i+1, expected, lines)
	}
}
