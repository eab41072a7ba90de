package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMap holds that the map in ARCHITECTURE.md names every Go file that is not a
// test, each once, and no file that is not there.
func TestMap(t *testing.T) {
	page, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	listed, err := exec.Command("git", "ls-files", "--cached", "--others", "--exclude-standard", "*.go").Output()
	if err != nil {
		t.Skip("this is no git checkout")
	}
	there := map[string]bool{}
	for _, file := range strings.Fields(string(listed)) {
		if _, err := os.Stat(file); err == nil && !strings.HasSuffix(file, "_test.go") {
			there[file] = true
		}
	}
	_, table, _ := strings.Cut(string(page), "\n## Map\n")
	dir := ""
	for _, line := range strings.Split(table, "\n") {
		if name, is := strings.CutPrefix(line, "### `"); is {
			dir, _, _ = strings.Cut(name, "`")
			continue
		}
		name, is := strings.CutPrefix(line, "- `")
		if !is {
			continue
		}
		name, says, _ := strings.Cut(name, "`: ")
		file := filepath.Join(dir, name)
		switch {
		case !there[file]:
			t.Errorf("the map names %s, which is not there, or twice", file)
		case strings.TrimSpace(says) == "":
			t.Errorf("the map says nothing of %s", file)
		}
		delete(there, file)
	}
	for file := range there {
		t.Errorf("the map does not name %s", file)
	}
}
