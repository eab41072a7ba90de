package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"testing"
)

// TestModules checks that docs/design/modules.md says of each module that go.mod
// requires directly what it is for, and names no other.
func TestModules(t *testing.T) {
	out, err := exec.Command("go", "mod", "edit", "-json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatal(err)
	}
	var direct []string
	for _, r := range mod.Require {
		if !r.Indirect {
			direct = append(direct, r.Path)
		}
	}
	page, err := os.ReadFile("docs/design/modules.md")
	if err != nil {
		t.Fatal(err)
	}
	var named []string
	for _, line := range regexp.MustCompile("(?m)^- .*?: ").FindAll(page, -1) {
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllSubmatch(line, -1) {
			named = append(named, string(m[1]))
		}
	}
	slices.Sort(direct)
	slices.Sort(named)
	if !slices.Equal(direct, named) {
		t.Errorf("go.mod requires %q\ndocs/design/modules.md names %q", direct, named)
	}
}
