package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestKernelsPage checks docs/KERNELS.md: that each kernel has what is as old as it is, and
// that the code names the same version.
func TestKernelsPage(t *testing.T) {
	page, err := os.ReadFile("docs/KERNELS.md")
	if err != nil {
		t.Fatal(err)
	}
	number := func(version string) (n int) {
		var major, minor int
		if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil {
			t.Fatalf("%q is no version of Linux", version)
		}
		return major*1000 + minor
	}
	var kernels []string
	rows := 0
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 8 || strings.HasPrefix(cells[0], "-") {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if kernels == nil {
			kernels = cells[2:6]
			continue
		}
		rows++
		for i, k := range kernels {
			if has := number(k) >= number(cells[1]); (cells[2+i] == "yes") != has {
				t.Errorf("%s: Linux %s: %s, and it is there since %s", cells[0], k, cells[2+i], cells[1])
			}
		}
		code, err := os.ReadFile(strings.Trim(cells[7], "`"))
		if err != nil || !strings.Contains(string(code), "Linux "+cells[1]) {
			t.Errorf("%s: %s does not name Linux %s (%v)", cells[0], cells[7], cells[1], err)
		}
	}
	if rows < 7 {
		t.Errorf("%d rows", rows)
	}
}
