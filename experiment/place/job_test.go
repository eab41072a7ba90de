package place

import (
	"strings"
	"testing"
)

// TestAfresh holds that go test is told not to repeat what it said last time,
// unless somebody has told it already.
func TestAfresh(t *testing.T) {
	for line, want := range map[string]string{
		"go test ./...":                 "go test -count=1 ./...",
		"/usr/local/go/bin/go test":     "/usr/local/go/bin/go test -count=1",
		"go test -v x -args -count=2":   "go test -count=1 -v x -args -count=2",
		"go test -count=3 ./...":        "go test -count=3 ./...",
		"go test ./... --count 3":       "go test ./... --count 3",
		"go test -test.count=1 ./...":   "go test -test.count=1 ./...",
		"go vet ./...":                  "go vet ./...",
		"go":                            "go",
		"./test test":                   "./test test",
		"go test -run count ./counters": "go test -count=1 -run count ./counters",
	} {
		if got := strings.Join(Afresh(strings.Fields(line)), " "); got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
}
