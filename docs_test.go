package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	codeBlock  = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	codeSpan   = regexp.MustCompile("`[^`\n]+`")
	testName   = regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z]\w*`)
	runPattern = regexp.MustCompile(`-run (?:'([^']+)'|([\w|]+))`)
	makeTarget = regexp.MustCompile(`(?m)(?:^|[` + "`" + `&; ])make ([a-z][a-z-]+)`)
	pageLink   = regexp.MustCompile(`\]\(([^)\s:]+)\)`)
	notInSlug  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// TestPagesNameWhatIsThere holds that the tests, make targets, files and headings that
// the pages name are there.
func TestPagesNameWhatIsThere(t *testing.T) {
	tests, targets := testNames(t), makeTargets(t)
	for _, page := range pages(t) {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		prose := codeBlock.ReplaceAllString(text, "")
		for _, name := range testName.FindAllString(prose, -1) {
			if !slices.ContainsFunc(tests, func(test string) bool { return strings.HasPrefix(test, name) }) {
				t.Errorf("%s names %s, which is no test", page, name)
			}
		}
		for _, m := range runPattern.FindAllStringSubmatch(text, -1) {
			for one := range strings.SplitSeq(m[1]+m[2], "|") {
				if !slices.ContainsFunc(tests, regexp.MustCompile(one).MatchString) {
					t.Errorf("%s: -run %s matches no test", page, one)
				}
			}
		}
		for _, span := range append(codeSpan.FindAllString(prose, -1), codeBlock.FindAllString(text, -1)...) {
			for _, m := range makeTarget.FindAllStringSubmatch(span, -1) {
				if !slices.Contains(targets, m[1]) {
					t.Errorf("%s: there is no make %s", page, m[1])
				}
			}
			if file := strings.Trim(span, "`"); isPath(file) {
				if _, err := os.Stat(file); err != nil {
					t.Errorf("%s names %s: %v", page, file, err)
				}
			}
		}
		for _, m := range pageLink.FindAllStringSubmatch(prose, -1) {
			file, heading, _ := strings.Cut(m[1], "#")
			to := page
			if file != "" {
				to = filepath.Join(filepath.Dir(page), file)
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
			} else if heading != "" && !slices.Contains(headings(t, to), heading) {
				t.Errorf("%s links to %s: there is no such heading", page, m[1])
			}
		}
	}
}

// isPath reports whether a span of code is the path of a file in a directory of this
// repository.
func isPath(span string) bool {
	dir, _, deep := strings.Cut(span, "/")
	if !deep || strings.ContainsAny(span, " *{}<>…=:,|") {
		return false
	}
	st, err := os.Stat(dir)
	return err == nil && st.IsDir()
}

// pages are those that people read. What CHANGELOG.md names may be gone since, and
// faults/README.md shows how to add what is not there yet.
func pages(t *testing.T) []string {
	t.Helper()
	all := []string{"README.md", "SECURITY.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "examples/README.md"}
	for _, dir := range []string{"docs", "docs/design", "clients/*"} {
		found, err := filepath.Glob(filepath.Join(dir, "*.md"))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s has no pages: %v", dir, err)
		}
		all = append(all, found...)
	}
	return all
}

func testNames(t *testing.T) (names []string) {
	t.Helper()
	decl := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range decl.FindAllStringSubmatch(string(text), -1) {
			names = append(names, m[1])
		}
		return err
	})
	if err != nil || len(names) == 0 {
		t.Fatalf("%d tests: %v", len(names), err)
	}
	return names
}

func makeTargets(t *testing.T) (names []string) {
	t.Helper()
	text, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^([a-z-]+):`).FindAllStringSubmatch(string(text), -1) {
		names = append(names, m[1])
	}
	return names
}

// headings are the anchors of a page, as GitHub makes them.
func headings(t *testing.T, page string) (all []string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if title, is := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); is && strings.HasPrefix(line, "#") {
			slug := notInSlug.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), "")
			all = append(all, strings.ReplaceAll(slug, " ", "-"))
		}
	}
	return all
}
